"""The statuses of an order, and what a step is to do about its order."""

from __future__ import annotations

from enum import StrEnum


class OrderStatus(StrEnum):
    """The status of an order."""

    REQUESTED = "requested"  # noted, before the provider is asked
    OPEN = "open"  # the provider accepted it
    COMPLETED = "completed"
    FAILED = "failed"
    NOT_ACCEPTED = "not_accepted"  # certainly: nothing was bought
    UNKNOWN = "unknown"  # nobody can say whether the provider accepted it


class Action(StrEnum):
    """What a step is to do next about its order."""

    BUY = "buy"  # ask the provider: the order is noted
    POLL = "poll"  # ask the provider for the answer
    WAIT = "wait"  # somebody else orders, or asks for the answer
    TAKE = "take"  # the answer is here
    STOP = "stop"  # there will be no answer, or a person has to decide
