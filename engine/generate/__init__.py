"""Build the text of the files that are generated from the specs."""
