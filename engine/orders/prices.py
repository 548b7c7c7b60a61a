"""The price of one run of research by provider and processor, read from `prices.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from engine.errors import EngineError

#: USD by provider and processor.
Prices: TypeAlias = Mapping[str, Mapping[str, Decimal]]


class PriceError(EngineError):
    """The file of prices cannot be read, or one of its entries is not a price."""


def load_prices(file: str | None) -> Prices:
    """Load the prices from `file`, or else the prices that the project ships.

    Raises PriceError, which names file and entry, when one is no price.
    """
    name = file or "prices.toml"
    try:
        text = Path(file).read_text("utf-8") if file else files("engine.orders").joinpath(name).read_text("utf-8")
        tables = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise PriceError(f"the prices in `{name}` cannot be read: {error}", hint="see `DATA_ENGINE_PRICES`") from error
    return {
        provider: {processor: _parse_price(name, provider, processor, value) for processor, value in table.items()}
        for provider, table in _check_tables(name, tables).items()
    }


def find_price(prices: Prices, provider: str, processor: str) -> Decimal | None:
    """Return the price of one run; None if the processor has none."""
    return prices.get(provider, {}).get(processor)


def format_usd(amount: Decimal | None) -> str | None:
    """Return an amount as decimal text without an exponent; None for None."""
    return None if amount is None else format(amount, "f")


def _check_tables(name: str, tables: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    for provider, table in tables.items():
        if not isinstance(table, dict):
            raise PriceError(
                f"`{provider}` in `{name}` is no table of prices", hint='write `[provider]`, `pro = "0.1"`'
            )
    return tables


def _parse_price(name: str, provider: str, processor: str, value: Any) -> Decimal:
    try:
        price = Decimal(value) if isinstance(value, str | int) and not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or price < 0:
        raise PriceError(
            f"`{provider}.{processor}` in `{name}` is `{value}`", hint='write USD as text, such as `pro = "0.10"`'
        )
    return price
