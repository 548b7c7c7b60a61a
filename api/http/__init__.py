"""What every endpoint shares: requests, bodies, errors, OpenAPI, telemetry and metrics."""
