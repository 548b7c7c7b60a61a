"""Compare the tables with what the step results give, without the code that wrote the rows."""
