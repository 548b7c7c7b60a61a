"""The error of the embedded server."""

from engine.errors import EngineError


class EmbeddedError(EngineError):
    """The embedded server cannot be found, made, started or reached."""
