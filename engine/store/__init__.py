"""The store: the one room where psycopg is spoken. It takes plans and SQL text, and gives rows, reports and StoreErrors."""
