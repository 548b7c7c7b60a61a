"""The engine: spec -> plan -> row, query, artifact. It knows no HTTP and no command line."""
