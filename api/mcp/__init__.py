"""Model Context Protocol: what agents may ask, answered by the endpoints that everybody else asks."""
