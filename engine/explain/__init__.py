"""Explain stored rows: where each cell comes from, what a row was before, and why a key has no row."""
