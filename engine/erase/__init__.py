"""Erase what is stored of a person or a company that research is about."""
