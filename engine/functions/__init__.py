"""The functions that the generated typed functions call, and the event loop they run on."""
