"""Errors about orders.

EngineError
├── PriceError                a file of prices cannot be read
└── OrderError
    ├── OrderConflict         the order is in another state than the caller takes it to be
    ├── ProviderRunIdTaken    the order already has another provider run id
    └── BudgetExceeded        the order would go beyond a budget, or has no price to hold against one
"""

from __future__ import annotations

from engine.errors import EngineError


class OrderError(EngineError):
    """Base of the errors of orders."""


class OrderConflict(OrderError):
    """The order is in another state than the caller takes it to be."""


class ProviderRunIdTaken(OrderError):
    """The order already has another provider run id: going on would lose one of two purchases."""


class BudgetExceeded(OrderError):
    """The order would go beyond a budget, or has no price to hold against one."""
