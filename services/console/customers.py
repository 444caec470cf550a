"""One customer as stored: who they are to us, what they did, what was said to them and what came of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from services.console.words import Happened
from services.gateway_problems import refusal
from streaming.contracts.partition import bucket_of
from streaming.control import bucket_count, read_profile
from streaming.keys import BucketKeys
from streaming.open_state import OpenState, OpenStrategy, decode_open
from streaming.profile_parts import Profile
from streaming.row import Row, decode_row
from streaming.stamps import digest

MOST_ENTRIES = 200
MOST_SHARES = 8


class Customer(NamedTuple):
    """A row, and what attribution keeps beside it."""

    row: Row
    open: OpenState


class Entry(NamedTuple):
    """One thing that happened; `strategy_id` where it has to do with one."""

    at_ms: int
    what: str
    detail: str
    strategy_id: str = ""


def customer(client: Any, prefix: str, user_id: str) -> Customer:
    """The customer that an id stands for, aliases followed.

    Raises:
        Refused: nobody knows the id.
        NewerRow: a newer program wrote the row.
    """
    found = read_profile(client, user_id, prefix)
    if found is None:
        raise refusal("not-found", "no event of this customer was applied")
    row = decode_row(msgspec.json.format(found.encode("utf-8", "surrogatepass"), indent=-1))
    kept = client.hget(
        BucketKeys.of(prefix, bucket_of(row.user_id, bucket_count(client, prefix) or 1)).open, row.user_id
    )
    return Customer(row, OpenState() if kept is None else decode_open(kept))


def alias(user_id: str) -> str:
    """What the audit calls a customer: it outlives an erasure, and is a part of the log, so that it holds no id."""
    return f"customer {digest(user_id).hex()}"


def happened(kept: OpenStrategy) -> Happened:
    """What attribution has published of a strategy so far."""
    closed = kept.published is not None
    return Happened(kept.stage, kept.reward if closed else None, kept.published, {})


def timeline(found: Customer) -> list[Entry]:
    """What is remembered, newest first."""
    entries = [*_done(found.row.profile), *_asked(found.row), *_told(found.open)]
    return sorted(entries, key=lambda entry: (-entry.at_ms, entry.what, entry.detail))[:MOST_ENTRIES]


def _done(profile: Profile) -> Iterator[Entry]:
    for view in profile.views:
        yield Entry(view.stamp.at_ms, "looked at a product", view.product_id)
    for search in profile.searches:
        yield Entry(search.stamp.at_ms, "searched", search.query)
    for product, line in profile.cart.items():
        what = "put into the cart" if line.quantity else "took out of the cart"
        yield Entry(line.stamp.at_ms, what, product)
    for product, wish in profile.wishlist.items():
        yield Entry(wish.stamp.at_ms, "wished for", product)
    for order in profile.orders:
        yield Entry(order.stamp.at_ms, "ordered", order.order_id)
    for reversal in profile.reversals:
        yield Entry(reversal.stamp.at_ms, "order reversed", reversal.order_id)
    for purpose, grant in profile.consent.items():
        yield Entry(grant.stamp.at_ms, "consent given" if grant.granted else "consent withdrawn", purpose)
    for alias, said in profile.aliases.items():
        yield Entry(said.stamp.at_ms, "known as well as", alias)


def _asked(row: Row) -> Iterator[Entry]:
    for trigger, at_ms in row.asked.last_ms.items():
        yield Entry(at_ms, "last asked for a strategy", trigger)


def _told(kept: OpenState) -> Iterator[Entry]:
    for strategy in kept.strategies:
        what = "would have been told something (holdout)" if strategy.ghost else "strategy"
        yield Entry(strategy.issued_ms, what, strategy.kind, "" if strategy.ghost else strategy.strategy_id)
        for fact in strategy.facts:
            yield Entry(fact.at_ms, "answered a strategy", fact.name, strategy.strategy_id)


def facts(row: Row) -> list[tuple[str, str]]:
    """What stands on top: name and value."""
    profile = row.profile
    channels = ", ".join(f"{name}: {c.clicked} of {c.shown} clicked" for name, c in sorted(profile.channels.items()))
    consent = ", ".join(
        f"{name}: {'yes' if grant.granted else 'no'}" for name, grant in sorted(profile.consent.items())
    )
    return [
        ("Customer", row.user_id),
        ("Arm", f"{row.arm}{' (merged from two arms: no evidence)' if row.mixed_arms else ''}"),
        ("State", row.state),
        ("First heard of", _day(profile.first_ms)),
        ("Language", profile.locale.value if profile.locale else "–"),
        ("Time zone", profile.timezone.value if profile.timezone else "–"),
        ("Consent", consent or "–"),
        ("Sessions remembered", str(len(profile.sessions))),
        ("Channels", channels or "–"),
        ("Merged ids", ", ".join(sorted(row.merged)) or "–"),
        ("Timers", str(len(row.due))),
    ]


def affinities(profile: Profile) -> list[tuple[str, str, float]]:
    """What the customer is drawn to: `category` or `brand`, its name, its share of what is remembered."""
    found = []
    for what, weights in (("category", profile.categories), ("brand", profile.brands)):
        whole = sum(weights.values())
        best = sorted(weights.items(), key=lambda each: -each[1])[:MOST_SHARES]
        found += [(what, name, weight / whole) for name, weight in best if whole > 0]
    return found


def _day(at_ms: int | None) -> str:
    return "–" if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"
