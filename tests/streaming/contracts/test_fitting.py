"""Whoever publishes is told the same of an event in one pass as by the contract, or is sent to the contract."""

import json
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from services.publish import event_record, fitting_record
from streaming.contracts.codec import decode_event
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import EVENTS, Event, ProductProperties
from streaming.contracts.fitting import _Priced, fitting, latest
from tests.services.gateway_samples import NOW_ISO, NOW_MS, event

UNTIL = latest(NOW_MS)
scalars = st.none() | st.booleans() | st.integers(-3, 10**13) | st.floats(allow_nan=False) | st.text(max_size=5)
amounts = (
    st.sampled_from([0, 1.99, -1, 1.999, 1e13, "1.5", "NaN", "-Infinity", "sNaN", -0.0, 1e-9, 7, "1" * 50]) | scalars
)
currencies = st.sampled_from(["USD", "EUR", "JPY", "KWD", "XYZ", "usd", ""]) | scalars
lines = st.lists(
    st.fixed_dictionaries(
        {"product_id": st.just("p")}, optional={"price": amounts, "quantity": st.integers(-1, 3), "discount": amounts}
    ),
    max_size=2,
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "product_id": st.just("p") | scalars,
        "price": amounts,
        "currency": currencies,
        "quantity": st.integers(-1, 3),
        "query": st.just("tea") | scalars,
        "order_id": st.just("o"),
        "products": lines,
        "total": amounts,
        "cost": amounts,
        "kind": st.sampled_from(["ad", "nonsense"]),
        "more": scalars,
    },
)
times = st.sampled_from(
    [NOW_ISO, "1999-12-31T23:59:59Z", "2000-01-01T00:00:00Z", "2090-01-01T00:00:00Z", "2026-01-31T12:00:00",
     "2026-01-31T12:00:00+05:30", "yesterday"]
)  # fmt: skip
members = st.one_of(
    st.tuples(st.just("messageId"), st.just("m") | scalars),
    st.tuples(st.just("type"), st.sampled_from(["track", "identify"])),
    st.tuples(st.just("event"), st.sampled_from([*EVENTS, "Moon Landed", None])),
    st.tuples(st.just("userId"), st.just("u") | scalars),
    st.tuples(st.just("anonymousId"), st.just("u") | scalars),
    st.tuples(st.just("timestamp"), times),
    st.tuples(st.just("properties"), properties),
    st.tuples(st.just("context"), st.just({"locale": "de-DE", "ip": "10.0.0.1"}) | scalars),
)
"""One member of an event; an object may hold several of one name."""


def text(pairs: list[tuple[str, Any]], *, escaped: bool) -> bytes:
    """An object of these members, in this order, its names perhaps spelled by escapes."""

    def spelled(name: str) -> str:
        return f'"\\u{ord(name[0]):04x}{name[1:]}"' if escaped else json.dumps(name)

    return f"{{{','.join(f'{spelled(name)}:{json.dumps(value)}' for name, value in pairs)}}}".encode()


def agree(value: bytes) -> bool:
    """Whether it plainly fits; the contract then says the same of it."""
    found = fitting(value, UNTIL)
    if found is None:
        return False
    read = decode_event(value, NOW_MS)
    assert isinstance(read, Event)
    assert (found.message_id, found.user_id) == (read.message_id, read.user_id)
    assert fitting_record(value, UNTIL) == event_record(value, NOW_MS)
    return True


WHOLE = list(event(1).items())


@given(st.lists(members, max_size=4), st.lists(members, max_size=2), st.booleans())
@example(before=[("event", "Products Searched")], after=[], escaped=False)
@example(before=[], after=[("event", "Products Searched"), ("properties", {"query": "tea"})], escaped=False)
@example(before=[], after=[("properties", {"product_id": "p", "price": "NaN", "currency": "USD"})], escaped=True)
def test_what_plainly_fits_fits(before: list[tuple[str, Any]], after: list[tuple[str, Any]], escaped: bool) -> None:  # noqa: FBT001 -- Hypothesis gives arguments by position
    """Members that repeat, contradict or belong to another event, in any order and spelling: the contract is never harder."""
    agree(text([*before, *WHOLE, *after], escaped=escaped))
    agree(text([*WHOLE[:3], *before, *after], escaped=escaped))


@given(st.sampled_from(sorted(set(EVENTS) - {"identify"})), properties, times, st.booleans())
def test_the_contract_is_asked_of_what_is_not_plain(name: str, said: dict[str, Any], at: str, known: bool) -> None:  # noqa: FBT001 -- Hypothesis gives arguments by position
    """Whatever the contract refuses does not plainly fit; of what it takes only currencies that few have are not plain."""
    value = json.dumps(event(1, event=name, properties=said, timestamp=at, userId="u" if known else None)).encode()
    plain = agree(value)
    try:
        taken = isinstance(decode_event(value, NOW_MS), Event)
    except BadEvent:
        taken = False
    assert plain == taken or said.get("currency") == "XYZ" or said.get("currency") == "KWD"


def test_bytes_that_are_no_event_do_not_fit() -> None:
    """No JSON, no UTF-8, too deep for any parser, something after the end."""
    for value in (b"", b"{", b"\xff", b"[" * 9_000, json.dumps(event(1)).encode() + b"x", b"null"):
        assert fitting(value, UNTIL) is None


def test_the_properties_that_are_read_another_way_are_the_contracts_own() -> None:
    """The same fields, required or not, with the same types but for the currency."""
    theirs, ours = msgspec.structs.fields(ProductProperties), msgspec.structs.fields(_Priced)
    assert [(field.name, field.default) for field in theirs] == [(field.name, field.default) for field in ours]
    assert [field.name for field, own in zip(theirs, ours, strict=True) if field.type != own.type] == ["currency"]
