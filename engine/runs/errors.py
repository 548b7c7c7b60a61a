"""Errors about pipeline runs, step results and submissions.

EngineError └── RunError
    ├── RecordNotFound           there is no such run, step result or submission
    ├── ForeignRecord            the record belongs to another organisation than the caller named
    ├── ForeignCompany           the company does not belong to the organisation
    ├── LostLease                another runner holds the run, or it was canceled
    ├── IdempotencyConflict      the key was sent before with another request
    ├── TooManyQueuedSteps       the organisation has too many queued steps
    ├── UnknownOperation         no spec says how the operation is executed
    └── InvalidStepConfig        a key or value of a step's configuration is invalid

Messages and hints name no HTTP header and no command option: the API and the command line add their own advice.
"""

from __future__ import annotations

from engine.errors import EngineError


class RunError(EngineError):
    """Base of the errors of this package."""


class RecordNotFound(RunError):
    """There is no such run, step result or submission."""


class ForeignRecord(RunError):
    """The record belongs to another organisation than the caller named."""


class ForeignCompany(RunError):
    """The company does not belong to the organisation."""


class LostLease(RunError):
    """Another runner holds the run, or it was canceled."""


class IdempotencyConflict(RunError):
    """The idempotency key was sent before with another request."""


class TooManyQueuedSteps(RunError):
    """The organisation has too many queued steps."""


class UnknownOperation(RunError):
    """No spec says how the operation is executed."""


class InvalidStepConfig(RunError):
    """A key or a value of a step's configuration is invalid."""
