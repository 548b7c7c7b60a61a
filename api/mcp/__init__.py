"""The server of the Model Context Protocol (MCP): tools for agents, which call the other endpoints of the API."""
