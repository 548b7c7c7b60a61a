"""Apply and draft migrations; compare tables with their plans."""
