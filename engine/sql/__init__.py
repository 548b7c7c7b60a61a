"""Build SQL text from plans. Nothing here connects to a database."""
