"""The endpoints of the runner and of submissions."""
