"""The HTTP API: endpoints built from plans, authentication, and how failures are answered."""
