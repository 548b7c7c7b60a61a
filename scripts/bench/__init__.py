"""`make bench`: what the engine costs, compared with what one would write by hand."""
