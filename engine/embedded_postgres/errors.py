"""The error of the embedded server."""

from engine.errors import EngineError


class EmbeddedError(EngineError):
    """The embedded server cannot be found, created, started or reached."""
