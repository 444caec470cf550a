"""Publishing: each line to its topic, each refusal explained."""

import msgspec
import pytest

from services.publish import classify, verdicts
from streaming.contracts.errors import BadEvent

NOW_MS = 1_500_000_000_000
EVENT: dict[str, object] = {
    "messageId": "m1",
    "type": "track",
    "event": "Product Added",
    "userId": "u1",
    "timestamp": "2017-01-01T00:00:00Z",
    "properties": {"product_id": "p", "price": 1.99, "currency": "USD"},
}


def line(**changes: object) -> bytes:
    """The event with some fields changed."""
    return msgspec.json.encode({**EVENT, **changes})


def test_an_event_goes_to_its_topic_under_its_user() -> None:
    """Shop events go to shop.events, ad effects to ads.events, keyed by user id."""
    shop = classify(line(), NOW_MS)
    ads = classify(line(event="Promotion Clicked", properties={"strategy_id": "s"}), NOW_MS)
    assert (shop.topic.name, shop.key) == ("shop.events", b"u1")
    assert (ads.topic.name, ads.key) == ("ads.events", b"u1")


def test_products_and_campaigns_are_recognised() -> None:
    """A product goes to the compacted catalog under its id."""
    product = {
        "product_id": "p1", "name": "Coffee", "category": ["grocery"], "brand": "b", "price_minor": 100,
        "currency": "USD", "unit_cost_minor": 60, "stock": 1, "launched_at": "2017-01-01T00:00:00Z",
    }  # fmt: skip
    record = classify(msgspec.json.encode(product), NOW_MS)
    assert (record.topic.name, record.key) == ("shop.catalog", b"p1")


def test_an_unknown_event_is_noted_and_still_published() -> None:
    """The agents ignore it with a count; publishing it is no error."""
    record = classify(line(event="Moon Landed"), NOW_MS)
    assert "Moon Landed" in record.note


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (b"{", "$"),
        (b"[]", "$"),
        (b'{"a": 1}', "$"),
        (line(userId=3), "userId"),
        (line(messageId=""), "messageId"),
        (line(timestamp="2099-01-01T00:00:00Z"), "timestamp"),
        (line(properties={"product_id": "p", "price": -1, "currency": "USD"}), "properties.price"),
        (line(properties={"product_id": "p", "price": 1}), "properties.currency"),
        (line(properties={"price": 1, "currency": "USD"}), "properties.product_id"),
    ],
)
def test_a_bad_line_names_its_field(text: bytes, field: str) -> None:
    """What is refused says which field is wrong."""
    with pytest.raises(BadEvent) as caught:
        classify(text, NOW_MS)
    assert caught.value.field == field


def test_lines_are_numbered_and_empty_ones_skipped() -> None:
    """Verdicts carry the line's number in the file."""
    found = list(verdicts([line(), b"\n", b"nonsense"], NOW_MS))
    assert [(v.line, v.refusal is None) for v in found] == [(1, True), (3, False)]
