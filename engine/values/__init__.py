"""Values: exact JSON, column types, normalizers, addresses."""
