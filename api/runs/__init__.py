"""The endpoints of the runner and of whoever starts work."""
