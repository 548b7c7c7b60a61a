"""Builders of the product documentation under docs/."""
