"""What was done with products, the bulk of a shop's log: one decoding of a line straight into columns.

Only what the contract accepts is taken, by the contract's own types; every other line is left to `segment.py`, which says why.
"""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Literal

import msgspec
import polars as pl
from msgspec import Raw, Struct, field

from model.data.tables import TABLES
from streaming.contracts.codec import EARLIEST_MS, MAX_AHEAD_MS
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import Context, Id, Quantity, StrategyId
from streaming.contracts.money import Currency, to_minor

HINT = '"Product '
"""Lines without it are not tried."""


NOTHING = Raw(b"null")


class _Properties(Struct, gc=False):
    product_id: Id
    quantity: Quantity = 1
    price: Raw = NOTHING
    currency: Currency | None = None
    strategy_id: StrategyId | None = None


class _Envelope(Struct, gc=False, rename="camel"):
    message_id: Id
    type: Literal["track"]
    timestamp: datetime
    event: Literal["Product Viewed", "Product Clicked", "Product Added", "Product Removed", "Product Added to Wishlist"]
    properties: _Properties
    user_id: Id | None = None
    anonymous_id: Id | None = None
    context: Context = field(default_factory=Context)


_DECODE = msgspec.json.Decoder(_Envelope).decode
_AMOUNT = msgspec.json.Decoder(Decimal)


@lru_cache(maxsize=16_384)  # a shop has few prices
def _price(raw: bytes, currency: str) -> str | None:
    """An amount that the contract accepts, as text; None for one that it may not."""
    try:
        amount = _AMOUNT.decode(raw)
        to_minor(amount, currency, "price")
    except (msgspec.DecodeError, InvalidOperation, BadEvent):
        return None
    return f"{amount:f}"


class ProductEvents:
    """Columns that grow line by line."""

    def __init__(self, deeds: dict[str, str], now_ms: int) -> None:
        """Begin with none.

        Args:
            deeds: event → action.
            now_ms: the reader's clock.
        """
        self._deeds = deeds
        self._latest_ms = now_ms + MAX_AHEAD_MS
        self._rows: list[tuple[int, str | None, int, str, str, str | None, str, int, str | None, str | None]] = []

    def take(self, number: int, line: str) -> bool:
        """Take a line over, where it is such an event and the contract accepts it."""
        if '"type"' not in line:  # a product or a campaign
            return False
        try:
            event = _DECODE(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False
        told, moment = event.properties, event.timestamp
        person = event.user_id or event.anonymous_id
        if person is None or moment.tzinfo is None:
            return False
        at_ms = round(moment.timestamp() * 1000)
        if not EARLIEST_MS <= at_ms <= self._latest_ms:
            return False
        price = currency = None
        raw = bytes(told.price)
        if raw != b"null":
            currency = told.currency
            price = _price(raw, currency) if currency is not None else None
            if price is None:
                return False
        self._rows.append(
            (number, person, at_ms, self._deeds[event.event], told.product_id,
             told.strategy_id, event.message_id, told.quantity, currency, price)
        )  # fmt: skip
        return True

    def frame(self) -> pl.DataFrame:
        """Rows of `behaviours` as text, as `segment.frame_of` gives them."""
        names = (
            "row",
            "customer_id",
            "at",
            "action",
            "product_id",
            "ad_id",
            "event_id",
            "quantity",
            "currency",
            "price_minor",
        )
        numbers = {"row", "at", "quantity"}
        types = [pl.Int64 if name in numbers else pl.String for name in names]
        columns = zip(*self._rows, strict=True) if self._rows else ((),) * len(names)
        frame = pl.DataFrame([pl.Series(n, c, t) for n, c, t in zip(names, columns, types, strict=True)])
        missing = pl.lit(None, dtype=pl.String)
        fields = [field.name for field in TABLES["behaviours"].fields]
        return frame.select(
            "row",
            *[pl.col(name).cast(pl.String) if name in names else missing.alias(name) for name in fields],
        )
