"""The typed Python functions and the event loop they run on."""
