"""Drafts of new specs from sample outputs."""
