"""The engine: it compiles specs to plans; with a plan it turns step results into rows, and builds queries and files."""
