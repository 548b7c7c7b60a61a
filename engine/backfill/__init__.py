"""Make rows and ledger entries from stored step results, and read the accounts."""
