"""Generated files: what follows from the specs, as text."""
