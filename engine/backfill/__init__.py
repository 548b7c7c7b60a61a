"""Backfill: stored step results become rows, ledger entries and accounts."""
