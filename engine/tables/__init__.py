"""Tables and migrations: compare a table with its plan, draft and apply migrations."""
