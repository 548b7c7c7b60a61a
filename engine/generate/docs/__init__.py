"""The generated reference pages of the specs."""
