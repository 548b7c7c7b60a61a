"""JMESPath: the grammar, the allowed functions and compiled paths."""
