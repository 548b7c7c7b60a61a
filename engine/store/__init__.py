"""The store: the one room where psycopg is spoken. Plans and SQL text in; rows, reports and StoreErrors out."""
