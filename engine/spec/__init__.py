"""The spec format: YAML with locations, the models, the checks and their diagnostics."""
