"""Run the statements of engine/sql: connections, the errors of the database, single rows and pages of rows."""
