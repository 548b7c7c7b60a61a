"""What all endpoints share: bodies, responses, errors, OpenAPI, logs and metrics."""
