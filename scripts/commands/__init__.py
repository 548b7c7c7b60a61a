"""The commands of `dex`, one module per subject."""
