"""Rows: a step result and a plan become rows or reasons; rows are grouped by key and counted."""
