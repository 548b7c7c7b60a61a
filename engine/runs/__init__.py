"""Pipeline runs, step results and submissions."""
