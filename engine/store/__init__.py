"""Run the statements of engine/sql: connections, errors of the database, upserts, pages of rows, exports."""
