"""Turn a step result into rows, or into reasons why it gives none; group rows by key, and count them."""
