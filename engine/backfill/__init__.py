"""Write the rows, ledger entries and accounts of stored step results."""
