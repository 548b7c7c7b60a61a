"""The endpoints of the runner, of submissions, of runs and of orders."""
