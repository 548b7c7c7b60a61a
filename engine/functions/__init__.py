"""What the generated typed functions call, and the event loop it runs on."""
