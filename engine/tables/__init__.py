"""Migrations: apply and draft them; compare tables with their plans."""
