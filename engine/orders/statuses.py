"""The statuses of an order, and what a step must do next about its order."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

#: The code of the note on an open order whose run the provider does not know, or knows as that of another order.
RUN_UNKNOWN: Final = "provider_unknown"


class OrderStatus(StrEnum):
    """The status of an order."""

    REQUESTED = "requested"  # stored; not recorded yet whether the provider accepted it
    OPEN = "open"  # the provider accepted it
    COMPLETED = "completed"
    FAILED = "failed"
    NOT_ACCEPTED = "not_accepted"  # the provider certainly did not accept it: nothing was bought
    UNKNOWN = "unknown"  # the answer to the request was lost: the provider may have accepted it

    @property
    def is_unfinished(self) -> bool:
        """Return whether an order with this status may still get an answer; it then blocks its question."""
        return self in (OrderStatus.REQUESTED, OrderStatus.OPEN, OrderStatus.UNKNOWN)


class Action(StrEnum):
    """What a step must do next about its order."""

    BUY = "buy"  # send the order to the provider
    POLL = "poll"  # ask the provider for the answer
    WAIT = "wait"  # another step orders or asks for the answer: call `place_order` again later
    TAKE = "take"  # use the answer that is returned with this
    STOP = "stop"  # fail: there will be no answer, or a person has to resolve the order
