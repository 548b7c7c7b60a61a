"""What can go wrong while starting the embedded server, as one kind of error.

In: a sentence and advice. Out: an EngineError the command line prints as it stands.
It must not know which step failed.
"""

from engine.errors import EngineError


class EmbeddedError(EngineError):
    """The embedded server cannot be found, made, started or reached."""
