"""Run the statements of engine/sql: connections, errors of the database, single rows, pages of rows, exports."""
