"""Values: JSON with exact numbers, column types, normalizers, addresses, UUIDs."""
