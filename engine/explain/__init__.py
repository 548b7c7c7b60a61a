"""Explain stored rows: where each cell comes from, what a row was earlier, and why a key has no row."""
