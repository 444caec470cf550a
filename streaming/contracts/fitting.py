"""Whether an event fits the contract, told in one pass for those that plainly do: for publishers, who need no more of it. Pure.

The contract (`codec.decode_event`) reads an envelope, then its properties, and tells what is wrong. Here the event's name says what
its properties are while the bytes are read, so that nothing is read twice. What is not plain is left to the contract.
"""

from datetime import datetime
from typing import Any, Literal, Union

import msgspec
from msgspec import Struct, field

from streaming.contracts.codec import EARLIEST_MS, MAX_AHEAD_MS, UNREADABLE, check_money, instant
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import (
    ADS_EVENTS,
    EVENTS,
    SHOP_EVENTS,
    ProductProperties,
    Properties,
    WireEvent,
)
from streaming.contracts.money import minor_of

_Plain = Literal[
    "AED", "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "JPY", "KRW",
    "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "USD", "ZAR",
]  # fmt: skip
"""Currencies that are told by looking them up, where the contract's pattern costs as much as the rest of the properties."""


def _as_in(kind: type[Struct], **others: Any) -> list[tuple[str, Any] | tuple[str, Any, Any]]:
    """The fields of a type of the contract, for `defstruct`: these with another type, required where it is given alone."""
    found: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for each in msgspec.structs.fields(kind):
        if each.name in others:
            found.append((each.name, *others[each.name]))
        elif each.required:
            found.append((each.name, each.type))
        elif each.default is msgspec.NODEFAULT:
            found.append((each.name, each.type, field(default_factory=each.default_factory)))
        else:
            found.append((each.name, each.type, each.default))
    return found


_Priced: type[Any] = msgspec.defstruct(
    "_Priced", _as_in(ProductProperties, currency=(_Plain | None, None)), frozen=True, gc=False
)
"""`ProductProperties`, of a currency that most have."""


class Fitting(Struct, frozen=True, gc=False):
    """What a publisher needs of an event that fits.

    Args:
        user_id: the record's key.
        ads: whether it belongs to `ads.events`.
    """

    message_id: str
    user_id: str
    ads: bool


def _whole(name: str, properties: type[Properties]) -> type[Struct]:
    """The envelope of a tracked event of this name, its properties typed."""
    said = _Priced if properties is ProductProperties else properties
    whole = _as_in(WireEvent, type=(Literal["track"],), properties=(said,))
    fields = [each for each in whole if each[0] != "event"]
    options: dict[str, Any] = {"frozen": True, "gc": False, "kw_only": True, "rename": "camel"}
    return msgspec.defstruct("_Whole", fields, tag_field="event", tag=name, **options)


_WHOLES = {_whole(name, properties): name for name, properties in EVENTS.items() if name != "identify"}
_ADS = frozenset(kind for kind, name in _WHOLES.items() if name in ADS_EVENTS and name not in SHOP_EVENTS)
_WHOLE: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[tuple(_WHOLES)])  # noqa: UP007 -- made from a mapping
_EARLIEST = instant(EARLIEST_MS)


def latest(now_ms: int) -> datetime:
    """The moment after which an event is absurd, by a publisher's clock."""
    return instant(now_ms + MAX_AHEAD_MS)


def fitting(value: bytes, until: datetime) -> Fitting | None:
    """What there is to know of an event that plainly fits; None where the contract has to say.

    Args:
        value: the record's value.
        until: `latest`.
    """
    try:
        whole = _WHOLE.decode(value)
        moment = whole.timestamp
        if moment.tzinfo is None or not _EARLIEST <= moment <= until:
            return None
        user_id = whole.user_id or whole.anonymous_id
        if user_id is None:
            return None
        properties = whole.properties
        if type(properties) is not _Priced:
            check_money(properties, _WHOLES[type(whole)])
        elif properties.price is not None:
            currency = properties.currency
            if currency is None or type(minor_of(properties.price, currency)) is not int:
                return None
    except (*UNREADABLE, BadEvent):
        return None
    return Fitting(whole.message_id, user_id, type(whole) in _ADS)
