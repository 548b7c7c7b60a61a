"""Orders: what was bought from providers of research, for which question, at which price, within which budget."""
