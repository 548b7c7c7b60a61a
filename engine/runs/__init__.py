"""Pipeline runs, step results and submissions: read, claim and change them."""
