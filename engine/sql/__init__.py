"""Plans -> SQL text. Nothing here talks to a database."""
