"""The engine: specs become plans; plans turn step results into rows, and build queries and generated files."""
