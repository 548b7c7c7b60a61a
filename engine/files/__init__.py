"""Step results and rows that lie in files: their schemas, their extraction and their fold, without a database."""
