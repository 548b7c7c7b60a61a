"""The HTTP API: endpoints built from plans, authentication, and the responses to errors."""
