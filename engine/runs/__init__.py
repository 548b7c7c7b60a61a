"""Pipeline runs, step results and submissions: reading them, claiming them, and recording how they go."""
