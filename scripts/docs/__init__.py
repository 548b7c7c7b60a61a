"""Builders of the generated pages in docs/ that do not depend on specs."""
