"""Decoding: good events round-trip, every bad one is refused naming field, value and what was wanted."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.contracts.catalog import Product
from streaming.contracts.codec import EARLIEST_MS, MAX_AHEAD_MS, Ignored, decode, decode_event, encode, instant, to_ms
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import EVENTS, Event, Line, OrderProperties, ProductProperties
from streaming.contracts.money import MAX_MINOR, to_minor

NOW_MS = to_ms(datetime(2026, 3, 2, 12, 0, tzinfo=UTC))

VIEW: dict[str, Any] = {
    "messageId": "m1", "type": "track", "event": "Product Viewed", "userId": "u1", "timestamp": "2026-03-02T11:59:00Z",
    "properties": {"product_id": "p1", "price": 2.5, "currency": "USD", "colour": "red"}, "sentAt": "whenever",
}  # fmt: skip
ORDER: dict[str, Any] = VIEW | {
    "event": "Order Completed",
    "properties": {
        "order_id": "o1",
        "currency": "USD",
        "products": [{"product_id": "p1", "quantity": 2, "price": "1.25"}],
    },
}


def read(message: object) -> Event:
    """Decode a message that must be an event."""
    event = decode_event(json.dumps(message).encode(), NOW_MS)
    assert isinstance(event, Event)
    return event


def refused(value: bytes) -> BadEvent:
    """The refusal of a record."""
    with pytest.raises(BadEvent) as caught:
        decode_event(value, NOW_MS)
    return caught.value


def changed(message: dict[str, Any], path: str, value: object) -> bytes:
    """A message with one field set, or taken out where the value is `...`."""
    copy = json.loads(json.dumps(message))
    at, keys = copy, path.split(".")
    for key in keys[:-1]:
        at = at[int(key)] if key.isdigit() else at[key]
    if value is ...:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    return json.dumps(copy).encode()


def test_a_good_event_is_read() -> None:
    """Names, ids, time and money arrive typed; unknown properties and envelope fields pass through."""
    event = read(VIEW)
    assert (event.message_id, event.name, event.user_id, event.anonymous_id) == ("m1", "Product Viewed", "u1", None)
    assert event.at_ms == NOW_MS - 60_000
    assert event.properties == ProductProperties("p1", 1, Decimal("2.5"), "USD")


def test_money_is_exact() -> None:
    """A price written as text or number is the same decimal; 0.1 + 0.2 stays 0.30."""
    properties = read(ORDER).properties
    assert properties == OrderProperties("o1", "USD", (Line("p1", 2, Decimal("1.25")),))
    assert to_minor(Decimal("0.1") + Decimal("0.2"), "USD", "x") == 30
    assert to_minor(Decimal(7), "JPY", "x") == 7
    assert to_minor(Decimal("1.234"), "KWD", "x") == 1234


def test_anonymous_and_identified() -> None:
    """Without userId the anonymousId is the key; with both the anonymous one is kept for the merge."""
    anonymous = {key: value for key, value in VIEW.items() if key != "userId"} | {"anonymousId": "a1"}
    assert (read(anonymous).user_id, read(anonymous).anonymous_id) == ("a1", None)
    identify = {
        "messageId": "m",
        "type": "identify",
        "userId": "u1",
        "anonymousId": "a1",
        "timestamp": VIEW["timestamp"],
    }
    assert (read(identify).name, read(identify).anonymous_id) == ("identify", "a1")
    assert read(identify | {"anonymousId": "u1"}).anonymous_id is None


@pytest.mark.parametrize("value", [None, b""])
def test_tombstones_and_empty_values_are_ignored(value: bytes | None) -> None:
    """They are counted, not dead-lettered."""
    assert decode_event(value, NOW_MS) == Ignored("empty")


def test_unknown_events_are_ignored_by_name() -> None:
    """A name the contract does not have is counted under that name, whatever its properties are."""
    assert decode_event(changed(VIEW, "event", "Coupon Entered"), NOW_MS) == Ignored("unknown_event", "Coupon Entered")


@pytest.mark.parametrize(
    "value",
    [b"not json", b"{", b'{"messageId": "m1"', b"\xff\xfe\x00", b"\x80\x81", b"[" * 100_000, b"nul", b'"',
     '{"messageId":"\udcff"}'.encode("utf-8", "surrogatepass")],
)  # fmt: skip
def test_what_is_not_json_is_refused(value: bytes) -> None:
    """Broken JSON, broken UTF-8 and bottomless nesting are refused as a whole, with the start of the value."""
    error = refused(value)
    assert error.field == "$"
    assert len(str(error)) < 1000


BAD: list[tuple[dict[str, Any], str, object, str, str]] = [
    (VIEW, "messageId", ..., "messageId", "nothing"),
    (VIEW, "messageId", "", "messageId", ""),
    (VIEW, "messageId", 7, "messageId", "7"),
    (VIEW, "messageId", "m" * 201, "messageId", "mmm"),
    (VIEW, "type", "page", "type", "page"),
    (VIEW, "event", ..., "event", "None"),
    (VIEW, "event", 3, "event", "3"),
    (VIEW, "userId", ..., "userId", "None"),
    (VIEW, "userId", ["u1"], "userId", "u1"),
    (VIEW, "timestamp", ..., "timestamp", "nothing"),
    (VIEW, "timestamp", "yesterday", "timestamp", "yesterday"),
    (VIEW, "timestamp", "2026-03-02T11:59:00", "timestamp", "2026-03-02"),
    (VIEW, "timestamp", 1772452740, "timestamp", "1772452740"),
    (VIEW, "timestamp", "9999-12-31T00:00:00Z", "timestamp", "9999"),
    (VIEW, "timestamp", "1970-01-21T00:00:00Z", "timestamp", "1970"),
    (VIEW, "properties", ..., "properties.product_id", "nothing"),
    (VIEW, "properties", [1], "properties", "1"),
    (VIEW, "properties", None, "properties", "None"),
    (VIEW, "properties.product_id", ..., "properties.product_id", "nothing"),
    (VIEW, "properties.product_id", 17, "properties.product_id", "17"),
    (VIEW, "properties.quantity", 0, "properties.quantity", "0"),
    (VIEW, "properties.quantity", 1.5, "properties.quantity", "1.5"),
    (VIEW, "properties.price", -1, "properties.price", "-1"),
    (VIEW, "properties.price", "NaN", "properties.price", "NaN"),
    (VIEW, "properties.price", "Infinity", "properties.price", "Infinity"),
    (VIEW, "properties.price", "cheap", "properties.price", "cheap"),
    (VIEW, "properties.price", 1.005, "properties.price", "1.005"),
    (VIEW, "properties.price", "1e400", "properties.price", "1E+400"),
    (VIEW, "properties.price", 10**12, "properties.price", "1000000000000"),
    (VIEW, "properties.currency", ..., "properties.currency", "None"),
    (VIEW, "properties.currency", "dollar", "properties.currency", "dollar"),
    (VIEW, "context", {"locale": 5}, "context.locale", "5"),
    (VIEW, "context", {"consent": {"categoryPreferences": {"email": "yes"}}}, "context.consent.categoryPreferences", "yes"),
    (ORDER, "properties.products", [], "properties.products", ""),
    (ORDER, "properties.products.0.price", "-2", "properties.products[0].price", "-2"),
    (ORDER, "properties.products.0.price", "0.001", "properties.products[0].price", "0.001"),
    (ORDER, "properties.products.0.quantity", True, "properties.products[0].quantity", "True"),
    (ORDER, "properties.products.0.product_id", ..., "properties.products[0].product_id", "nothing"),
    (ORDER, "properties.currency", ..., "properties.currency", "nothing"),
    (ORDER, "properties.order_id", ..., "properties.order_id", "nothing"),
    (ORDER, "properties.total", "-0.01", "properties.total", "-0.01"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "path", "value", "field", "found"), BAD)
def test_a_bad_field_is_named_with_its_value(
    message: dict[str, Any],
    path: str,
    value: object,
    field: str,
    found: str,
) -> None:
    """Wrong types, missing fields, absurd times and impossible money: the refusal names field, value and what was wanted."""
    error = refused(changed(message, path, value))
    assert error.field.startswith(field)
    assert found in error.value
    assert error.wanted


def test_an_orders_lines_need_prices() -> None:
    """An order line without a price is refused: nothing could be said about what it brought."""
    error = refused(changed(ORDER, "properties.products.0.price", ...))
    assert error.field == "properties.products[0].price"


def test_five_megabytes_are_refused_briefly() -> None:
    """A value of 5 MB is refused by its field, and the reason stays a line."""
    error = refused(changed(VIEW, "properties.product_id", "p" * 5_000_000))
    assert error.field == "properties.product_id"
    assert len(str(error)) < 1000


def test_times_are_judged_by_the_readers_clock() -> None:
    """One day ahead of the clock is early, a millisecond more is absurd; so is anything before 2000."""
    for at_ms, good in (
        (NOW_MS + MAX_AHEAD_MS, True), (NOW_MS + MAX_AHEAD_MS + 1, False), (EARLIEST_MS, True), (EARLIEST_MS - 1, False),
    ):  # fmt: skip
        value = changed(VIEW, "timestamp", instant(at_ms).isoformat())
        if good:
            event = decode_event(value, NOW_MS)
            assert isinstance(event, Event)
            assert event.at_ms == at_ms
        else:
            assert refused(value).field == "timestamp"


def test_offsets_of_time_zones_are_read() -> None:
    """20:00 in Shanghai is 12:00 UTC."""
    assert read(json.loads(changed(VIEW, "timestamp", "2026-03-02T20:00:00+08:00"))).at_ms == NOW_MS


def test_unknown_properties_pass_in_every_event() -> None:
    """No event refuses a property it does not know."""
    wanted = {
        "product_id": "p", "query": "q", "order_id": "o", "currency": "USD", "cost": 1, "kind": "ad",
        "products": [{"product_id": "p", "price": 1, "extra": {}}], "unheard": {"of": [1]},
    }  # fmt: skip
    for name in EVENTS:
        message = VIEW | {"event": name, "properties": wanted}
        if name == "identify":
            message["type"] = "identify"
        assert read(message).name == name


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.sampled_from([VIEW, ORDER]), st.data())
def test_no_value_anywhere_does_anything_but_refuse(message: dict[str, Any], data: st.DataObject) -> None:
    """Whatever stands in whatever field, decoding gives an event, ignores, or raises BadEvent; never anything else."""
    paths = ["messageId", "type", "event", "userId", "timestamp", "properties", "context", "properties.currency",
             "properties.products", "properties.price", "properties.order_id", "properties.total"]  # fmt: skip
    value = changed(message, data.draw(st.sampled_from(paths)), data.draw(json_values))
    try:
        result = decode_event(value, NOW_MS)
    except BadEvent as error:
        assert error.field  # noqa: PT017 -- either outcome is right
        assert error.wanted  # noqa: PT017
    else:
        assert isinstance(result, Event | Ignored)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_refuse(value: bytes) -> None:
    """Random bytes are ignored when empty and refused otherwise."""
    if value:
        refused(value)
    else:
        assert isinstance(decode_event(value, NOW_MS), Ignored)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30), st.integers(EARLIEST_MS, NOW_MS),
    st.integers(0, MAX_MINOR), st.sampled_from(["USD", "JPY", "KWD"]), st.integers(1, 100_000),
)  # fmt: skip
def test_events_round_trip(message_id: str, user: str, at_ms: int, minor: int, currency: str, quantity: int) -> None:
    """What a shop publishes is what is read: any id, any time, any amount in any currency, exactly."""
    decimals = {"USD": 2, "JPY": 0, "KWD": 3}[currency]
    price = Decimal(minor).scaleb(-decimals)
    properties = {"product_id": "p", "quantity": quantity, "price": str(price), "currency": currency}
    sent = VIEW | {
        "messageId": message_id,
        "userId": user,
        "timestamp": instant(at_ms).isoformat(),
        "properties": properties,
    }
    event = read(sent)
    assert (event.message_id, event.user_id, event.at_ms) == (message_id, user, at_ms)
    assert isinstance(event.properties, ProductProperties)
    assert event.properties.price is not None
    assert to_minor(event.properties.price, currency, "price") == minor
    assert event.properties.quantity == quantity


def test_other_records_are_decoded_and_refused_alike() -> None:
    """A product round-trips; one with a negative cost is refused by field and value; encoding is canonical."""
    product = Product("p1", "Tea", ("grocery", "tea"), "Alba", 250, "USD", 100, 3, instant(NOW_MS))
    assert decode(encode(product), Product) == product
    assert encode(decode(encode(product), Product)) == encode(product)
    with pytest.raises(BadEvent, match=r"unit_cost_minor.*-5"):
        decode(encode(product).replace(b'"unit_cost_minor":100', b'"unit_cost_minor":-5'), Product)
    with pytest.raises(BadEvent, match="stock"):
        decode(
            b'{"product_id":"p"}'.replace(
                b"}", b',"name":"x","category":["c"],"brand":"b","price_minor":1,"currency":"USD","unit_cost_minor":1}'
            ),
            Product,
        )


def test_naive_times_are_utc() -> None:
    """`to_ms` takes a naive time as UTC and inverts `instant`."""
    moment = datetime(2026, 3, 2, 12, 0, tzinfo=UTC) + timedelta(milliseconds=7)
    assert to_ms(moment.replace(tzinfo=None)) == to_ms(moment) == NOW_MS + 7
    assert instant(to_ms(moment)) == moment
