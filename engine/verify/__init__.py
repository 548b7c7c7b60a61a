"""Compare the tables with what the step results give, by other code than that which wrote the rows."""
