"""The two endpoints of every spec: upsert and query."""
