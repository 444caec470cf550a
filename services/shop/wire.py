"""The shop's events as bytes: Segment envelopes with deterministic message ids, and planned moments of publishing.

Pure. An `Emit` says what is published when; times are event time in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from services.shop.customers import Customer
from streaming.contracts.codec import instant
from streaming.contracts.events import ADS_EVENTS
from streaming.contracts.ids import derive

SHOP_TOPIC = "shop.events"
ADS_TOPIC = "ads.events"
TIMEZONE = "America/New_York"
"""Of all customers; see `data/SOURCE.md`."""
ONLY_ADS = frozenset(ADS_EVENTS) - {"Clock Advanced"}
"""Events that the ad and message servers publish."""


class Emit(msgspec.Struct, frozen=True):
    """One record to publish once the shop's clock reaches `due_ms`.

    Args:
        at_ms: event time; `due_ms` is later for an event that arrives out of order.
        key: the user id, as the topic's key.
        value: None for a tombstone.
    """

    due_ms: int
    at_ms: int
    topic: str
    key: str
    value: bytes | None


def amount(minor_units: int) -> Decimal:
    """Cents as an exact decimal of dollars."""
    return Decimal(minor_units).scaleb(-2)


def context_of(customer: Customer, consent: Mapping[str, bool] | None = None) -> dict[str, object]:
    """Segment's context: locale, time zone and, where it was given, consent."""
    context: dict[str, object] = {
        "locale": "zh-CN" if customer.language == "zh" else "en-US",
        "timezone": TIMEZONE,
    }
    return context | ({"consent": {"categoryPreferences": dict(consent)}} if consent is not None else {})


def envelope(
    name: str,
    user_id: str,
    at_ms: int,
    properties: Mapping[str, object],
    context: Mapping[str, object],
    *,
    anonymous_id: str | None = None,
    cause: str = "",
) -> dict[str, object]:
    """Build an event; the message id follows from the customer, the moment and the cause.

    With `anonymous_id` and an empty `user_id` the visitor is not known yet; with both, `identify` joins them.
    """
    message: dict[str, object] = {
        "messageId": derive("msg", user_id, anonymous_id or "", name, str(at_ms), cause),
        "type": "identify" if name == "identify" else "track",
        "timestamp": instant(at_ms).isoformat().replace("+00:00", "Z"),
    }
    if name != "identify":
        message["event"] = name
    if user_id:
        message["userId"] = user_id
    if anonymous_id:
        message["anonymousId"] = anonymous_id
    message["properties"] = dict(properties)
    message["context"] = dict(context)
    return message


def emit(
    name: str,
    customer: Customer,
    at_ms: int,
    properties: Mapping[str, object],
    *,
    anonymous_id: str | None = None,
    consent: Mapping[str, bool] | None = None,
    cause: str = "",
) -> Emit:
    """Plan an event of a customer at its own moment, on the topic it belongs to.

    An `anonymous_id` hides who the customer is, but in `identify`, which tells.
    """
    known = name == "identify" or anonymous_id is None
    message = envelope(
        name,
        customer.user_id if known else "",
        at_ms,
        properties,
        context_of(customer, consent),
        anonymous_id=anonymous_id,
        cause=cause,
    )
    key = customer.user_id if known else str(anonymous_id)
    topic = ADS_TOPIC if name in ONLY_ADS else SHOP_TOPIC
    return Emit(at_ms, at_ms, topic, key, msgspec.json.encode(message))


def clock_record(topic: str, partition: int, at_ms: int, key: str) -> bytes:
    """The shop's clock for one partition; its user id is the record's key, as in every event."""
    message = envelope("Clock Advanced", key, at_ms, {}, {}, cause=f"{topic}/{partition}")
    return msgspec.json.encode(message)
