"""`make bench`: what the engine costs, beside what one would write by hand."""
