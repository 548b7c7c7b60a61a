"""Extract and fold step results in files, without a database; and the schemas of these files."""
