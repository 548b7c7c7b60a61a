"""Tables and migrations: compare them with their plans, draft and apply migrations."""
