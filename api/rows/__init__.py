"""The two endpoints of every plan: upsert and query."""
