"""Lines in the format of our own topics (Segment's events, products, campaigns) → blocks of raw tables.

Each line is judged by the contract that the agents apply. What becomes of an event stands in `DEEDS` and `STATES`; events that
are no behaviour and no transaction are counted by name and passed over.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import polars as pl

from model.data.blocks import Bad, Lines, shown, split_lines
from model.data.mapped import Piece, Raw
from model.data.mapping import TableMapping
from model.data.product_events import HINT, ProductEvents
from model.data.tables import PATH_SEPARATOR, TABLES
from streaming.contracts import events
from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import Ignored, decode, decode_event, to_ms
from streaming.contracts.errors import BadEvent
from streaming.contracts.money import exponent

DEEDS = {
    "Product Viewed": "view",
    "Product Clicked": "click",
    "Product Added to Wishlist": "collect",
    "Product Added": "cart",
    "Product Removed": "remove",
    "Products Searched": "search",
    "Promotion Viewed": "exposure",
    "Promotion Clicked": "click",
    "Email Delivered": "exposure",
    "Email Opened": "view",
    "Email Link Clicked": "click",
    "Email Marked as Spam": "complain",
    "Unsubscribed": "unsubscribe",
    "Order Completed": "purchase",
}
STATES = {
    "Order Completed": "order",
    "Payment Info Entered": "payment",
    "Order Refunded": "return",
    "Order Cancelled": "cancel",
}
DAMAGED = "\N{REPLACEMENT CHARACTER}"
"""Stands where bytes were no text in the file's encoding."""
PARTS = ("products", "ads", "behaviours", "transactions")

Row = dict[str, str | None]
Rows = dict[str, list[tuple[int, Row]]]


class SegmentFile(msgspec.Struct, frozen=True):
    """A file of JSON lines. `now_ms` is the reader's clock."""

    path: Path
    now_ms: int
    encoding: str = "utf-8"

    @property
    def parts(self) -> tuple[tuple[int, TableMapping], ...]:
        """One part per table; nothing is mapped, the fields have their own names."""
        return tuple((i, TableMapping(name, "*", {})) for i, name in enumerate(PARTS))

    def pieces(self) -> Iterator[Piece]:
        """The file's lines, block by block.

        Raises:
            Refused: the file cannot be used.
        """
        lines = Lines(self.path, self.encoding)
        first = 1
        try:
            for text, _ in lines.blocks():
                block = split_lines(text)
                yield piece_of(block, first, self.now_ms, lines.place)
                first += len(block)
        finally:
            lines.close()


def piece_of(lines: list[str], first: int, now_ms: int, read_bytes: int) -> Piece:
    """Raw tables of some lines, numbered from `first`."""
    rows: Rows = {name: [] for name in PARTS}
    bad: dict[str, list[Bad]] = {name: [] for name in PARTS}
    ignored: Counter[str] = Counter()
    deeds = ProductEvents(DEEDS, now_ms)
    count = 0
    for number, line in enumerate(lines, first):
        if not line or line.isspace():
            continue
        count += 1
        if HINT in line and DAMAGED not in line and deeds.take(number, line):
            continue
        try:
            told = _line(line, now_ms)
        except BadEvent as error:
            bad[_table_of(line)].append(
                Bad(number, error.field, shown(error.value), "against_the_contract", error.wanted)
            )
            continue
        if isinstance(told, str):
            ignored[told] += 1
        else:
            for table, row in told:
                rows[table].append((number, row))
    frames = {name: frame_of(name, rows[name]) for name in PARTS}
    frames["behaviours"] = pl.concat([deeds.frame(), frames["behaviours"]]).sort("row", maintain_order=True)
    raws = [Raw(i, name, frames[name], bad[name]) for i, name in enumerate(PARTS)]
    return Piece(raws, count, read_bytes, dict(ignored))


def frame_of(table: str, rows: list[tuple[int, Row]]) -> pl.DataFrame:
    """The table's fields as text, in its order, and `row`; columns that no row has are null without being built."""
    present = {name for _, row in rows for name in row}
    columns = [pl.Series("row", [number for number, _ in rows], pl.Int64)]
    for field in TABLES[table].fields:
        if field.name in present:
            columns.append(pl.Series(field.name, [row.get(field.name) for _, row in rows], pl.String))
        else:
            columns.append(pl.Series(field.name, [None], pl.String).new_from_index(0, len(rows)))
    return pl.DataFrame(columns)


def _line(line: str, now_ms: int) -> Iterable[tuple[str, Row]] | str:
    """(table, row) of a line, or why it is passed over."""
    if DAMAGED in line:
        raise BadEvent("$", line, "text in the file's encoding")
    value = line.encode("utf-8", "surrogatepass")
    if '"type"' not in line and '"product_id"' in line:
        return [("products", _product(decode(value, Product)))]
    if '"type"' not in line and '"campaign_id"' in line:
        return _ads(decode(value, Campaign))
    event = decode_event(value, now_ms)
    if isinstance(event, Ignored):
        return f"unknown event: {shown(event.name)}"
    make = _MAKERS.get(type(event.properties))
    if make is None or (event.name not in DEEDS and event.name not in STATES):
        return event.name
    return make(event, event.properties)


def _table_of(line: str) -> str:
    """The table that a line which cannot be read counts to."""
    if '"Order ' in line or '"Payment Info' in line:
        return "transactions"
    if '"type"' not in line:
        return "products" if '"product_id"' in line else "ads" if '"campaign_id"' in line else "behaviours"
    return "behaviours"


def _deed(event: events.Event) -> Row:
    return {
        "customer_id": event.user_id,
        "at": str(event.at_ms),
        "action": DEEDS[event.name],
        "event_id": event.message_id,
    }


def _viewed(event: events.Event, told: events.ProductProperties) -> Iterable[tuple[str, Row]]:
    money = {"price_minor": _text(told.price), "currency": told.currency} if told.price is not None else {}
    more = {"product_id": told.product_id, "quantity": str(told.quantity), "ad_id": told.strategy_id}
    yield "behaviours", _deed(event) | more | money


def _searched(event: events.Event, told: events.SearchProperties) -> Iterable[tuple[str, Row]]:
    yield "behaviours", _deed(event) | {"query": told.query}


def _promoted(event: events.Event, told: events.PromotionProperties) -> Iterable[tuple[str, Row]]:
    more = {"ad_id": told.promotion_id or told.strategy_id, "placement": told.position, "channel": "onsite"}
    yield "behaviours", _deed(event) | more


def _mailed(event: events.Event, told: events.EmailProperties) -> Iterable[tuple[str, Row]]:
    yield "behaviours", _deed(event) | {"ad_id": told.campaign_id or told.strategy_id, "channel": told.channel}


def _ordered(event: events.Event, told: events.OrderProperties) -> Iterable[tuple[str, Row]]:
    for number, line in enumerate(told.products):
        about = {"product_id": line.product_id, "quantity": str(line.quantity), "order_id": told.order_id}
        deed = about | {"event_id": f"{event.message_id}#{number}", "ad_id": told.strategy_id}
        yield "behaviours", _deed(event) | deed | {"price_minor": _text(line.price), "currency": told.currency}
    yield from _lines(event, told, told.products)


def _reversed(event: events.Event, told: events.ReversalProperties) -> Iterable[tuple[str, Row]]:
    if told.products:
        yield from _lines(event, told, told.products)
    else:
        yield "transactions", _transaction(event, told) | {"amount_minor": _text(told.total)}


def _lines(
    event: events.Event, told: events.OrderProperties | events.ReversalProperties, lines: tuple[events.Line, ...]
) -> Iterable[tuple[str, Row]]:
    for number, line in enumerate(lines):
        amount = None if line.price is None else line.price * line.quantity
        discount = None if line.discount is None else line.discount * line.quantity
        yield (
            "transactions",
            _transaction(event, told)
            | {
                "product_id": line.product_id,
                "line": str(number),
                "quantity": str(line.quantity),
                "amount_minor": _text(amount),
                "discount_minor": _text(discount),
            },
        )


def _transaction(event: events.Event, told: events.OrderProperties | events.ReversalProperties) -> Row:
    return {
        "order_id": told.order_id,
        "customer_id": event.user_id,
        "at": str(event.at_ms),
        "state": STATES[event.name],
        "currency": told.currency,
    }


def _product(told: Product) -> Row:
    return {
        "product_id": told.product_id,
        "name": told.name,
        "description": told.description,
        "category": PATH_SEPARATOR.join(told.category),
        "type": told.category[-1],
        "brand": told.brand,
        "attributes": msgspec.json.encode(told.attributes).decode() if told.attributes else None,
        "image": told.image_url,
        "launched_at": str(to_ms(told.launched_at)),
        "currency": told.currency,
        "price_minor": _text(Decimal(told.price_minor).scaleb(-exponent(told.currency))),
    }


def _ads(told: Campaign) -> Iterable[tuple[str, Row]]:
    for creative in told.creatives:
        yield (
            "ads",
            {
                "ad_id": told.campaign_id,
                "kind": told.kind,
                "language": creative.language,
                "title": creative.title,
                "body": creative.body,
                "channel": " ".join(told.channels),
                "starts_at": str(to_ms(told.starts_at)),
                "ends_at": str(to_ms(told.ends_at)),
                "products": " ".join(told.product_ids),
            },
        )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


_MAKERS: dict[type, Callable[[events.Event, object], Iterable[tuple[str, Row]]]] = {
    events.ProductProperties: _viewed,  # type: ignore[dict-item]  # each is given the properties it is listed for
    events.SearchProperties: _searched,  # type: ignore[dict-item]
    events.PromotionProperties: _promoted,  # type: ignore[dict-item]
    events.EmailProperties: _mailed,  # type: ignore[dict-item]
    events.OrderProperties: _ordered,  # type: ignore[dict-item]
    events.ReversalProperties: _reversed,  # type: ignore[dict-item]
}
