"""The statuses that a pipeline run, a step result and a submission can have, and the programs that execute a run.

In this project's schema the columns are text; in an adopted database they may be enums.
"""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """The status of a pipeline run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether a run with this status has ended."""
        return self in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELED)


class StepStatus(StrEnum):
    """The status of a step result."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    RETRYING = "retrying"

    @property
    def is_final(self) -> bool:
        """Whether a step with this status has ended."""
        return self in (StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED)


class SubmissionStatus(StrEnum):
    """The status of a submission, which is derived from its runs."""

    RECEIVED = "received"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class Runner(StrEnum):
    """The program that executes a run: the local runner, or a task at Trigger.dev."""

    LOCAL = "local"
    TRIGGER = "trigger"
