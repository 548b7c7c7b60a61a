"""The endpoints of every plan: upsert, query, export, changes, one row, explain and history."""
