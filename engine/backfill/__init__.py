"""Make rows and ledger entries from stored step results, and count the step results by outcome (the accounts)."""
