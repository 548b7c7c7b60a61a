"""Errors about orders.

EngineError
├── PriceError                a file of prices cannot be read
└── OrderError
    ├── OrderConflict         the order is not in the state that the requested change needs
    ├── ProviderRunIdTaken    the order already has another provider run id
    └── BudgetExceeded        the order exceeds a budget, or has no price to check against one
"""

from __future__ import annotations

from engine.errors import EngineError


class OrderError(EngineError):
    """Base of the errors of orders."""


class OrderConflict(OrderError):
    """The order is not in the state that the requested change needs."""


class ProviderRunIdTaken(OrderError):
    """The order already has another provider run id: replacing it would lose one of two purchases."""


class BudgetExceeded(OrderError):
    """The order exceeds a budget, or its processor has no price to check against one."""
