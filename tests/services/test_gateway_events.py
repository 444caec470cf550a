"""Verdicts on events, and Segment's calls as the same events."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import gateway_segment as segment
from services.gateway_bodies import Bounds
from services.gateway_events import Judged, Verdict, judge
from services.gateway_problems import Refused
from streaming.contracts.codec import Ignored, decode_event
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import EVENTS, Event
from tests.services.gateway_samples import NOW_ISO, NOW_MS, event

BOUNDS = Bounds(body_bytes=100_000, events=50, event_bytes=20_000, depth=12)

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10)
)
loose = st.fixed_dictionaries(
    {},
    optional={
        "messageId": st.sampled_from(["a", "b", ""]) | scalars,
        "type": st.sampled_from(["track", "identify", "page", "alias"]) | scalars,
        "event": st.sampled_from([*EVENTS, "Moon Landed"]) | scalars,
        "userId": st.sampled_from(["u", "v"]) | scalars,
        "anonymousId": scalars,
        "previousId": scalars,
        "timestamp": st.just(NOW_ISO) | scalars,
        "properties": st.dictionaries(st.sampled_from(["product_id", "price", "currency", "query"]), scalars) | scalars,
        "context": st.dictionaries(st.sampled_from(["locale", "ip", "consent"]), scalars) | scalars,
        "traits": st.just({"email": "a@example.org"}),
    },
)
"""Anything between a good event and nonsense."""


def judged(*events: dict[str, Any]) -> Judged:
    """The verdicts on these."""
    return judge([json.dumps(each).encode() for each in events], NOW_MS, BOUNDS)


def read_by_agents(text: bytes) -> Event | Ignored | BadEvent:
    """What a reader of the topic makes of it."""
    try:
        return decode_event(text, NOW_MS)
    except BadEvent as bad:
        return bad


@given(st.lists(loose | st.builds(event, st.integers(0, 5)), max_size=8))
def test_a_verdict_is_the_contracts_own(events: list[dict[str, Any]]) -> None:
    """Refused is what the topic's reader refuses, with its field and wish; the rest is published once, as it came."""
    texts = [json.dumps(each).encode() for each in events]
    found = judge(texts, NOW_MS, BOUNDS)
    assert [verdict.index for verdict in found.verdicts] == list(range(len(texts)))
    published = []
    for verdict, text in zip(found.verdicts, texts, strict=True):
        read = read_by_agents(text)
        if isinstance(read, BadEvent):
            assert (verdict.verdict, verdict.field, verdict.wanted) == ("refused", read.field, read.wanted)
            continue
        assert verdict.verdict in ("accepted", "duplicate")
        assert bool(verdict.note) == (isinstance(read, Ignored) and verdict.verdict == "accepted")
        if verdict.verdict == "accepted":
            published.append(text)
    assert [record.value for record in found.records] == published
    identities = [(record.key, record.message_id) for record in found.records]
    assert len(set(identities)) == len(identities)
    assert sum(found.counts().values()) == len(texts)


def test_a_duplicate_is_of_the_same_customer_and_of_a_good_event() -> None:
    """Another customer's event with the id is another event; a refused one does not hide its correction."""
    refused = event(1, properties={})
    found = judged(refused, event(1), event(1), event(1, userId="another"))
    assert [verdict.verdict for verdict in found.verdicts] == ["refused", "accepted", "duplicate", "accepted"]
    assert found.verdicts[0].field == "properties.product_id"


def called(name: str, body: dict[str, Any]) -> Judged:
    """What becomes of a request to `/v1/NAME`."""
    each, shared = segment.calls(json.dumps(body).encode(), name, BOUNDS)
    return judge([segment.event(index, call, name, shared, NOW_ISO) for index, call in enumerate(each)], NOW_MS, BOUNDS)


@given(loose, st.sampled_from([*segment.CALLS, "batch"]))
def test_any_call_has_a_verdict(call: dict[str, Any], name: str) -> None:
    """Whatever a call holds, it is published, ignored or refused, and no trait goes on."""
    found = called(name, {"batch": [call], "context": {"locale": "de-DE"}} if name == "batch" else call)
    assert len(found.verdicts) == 1
    for record in found.records:
        assert not isinstance(read_by_agents(record.value), BadEvent)
        assert not {"traits", "previousId"} & set(json.loads(record.value))
        assert set(json.loads(record.value)["context"]) <= {"locale", "timezone", "consent"}


def test_a_track_call_is_the_event_itself() -> None:
    """With its ids, properties and time; numbers stay as they were written."""
    call = event(3, type=None, context={"locale": "de-DE", "ip": "10.0.0.1", "library": {"name": "x"}})
    (record,) = called("track", call).records
    expected = event(3, context={"locale": "de-DE"})
    assert json.loads(record.value) == expected
    assert b"1.99" in record.value


def test_what_a_call_leaves_out_is_filled_in_the_same_way_each_time() -> None:
    """Without id and time: the time of receipt, and an id of the content, so that a repetition is a duplicate."""
    call = event(3, messageId=None, timestamp=None)
    first, again = called("track", call), called("track", call)
    assert first.records == again.records
    assert first.records[0].message_id != called("track", {**call, "userId": "v"}).records[0].message_id
    assert json.loads(first.records[0].value)["timestamp"] == NOW_ISO


def test_a_batch_shares_its_context_and_mixes_its_calls() -> None:
    """Each call says its type; its own context comes before the batch's; pages are ignored and said to be."""
    batch = [
        {"type": "page", "messageId": "m-p", "name": "Home", "userId": "u"},
        event(1, context={"locale": "fr-FR"}),
        {"type": "identify", "messageId": "m-i", "userId": "u", "anonymousId": "a", "timestamp": NOW_ISO, "traits": {"email": "a@example.org"}},
        {"type": "alias", "messageId": "m-a", "userId": "u", "previousId": "b", "timestamp": NOW_ISO},
    ]  # fmt: skip
    found = called(
        "batch", {"batch": batch, "context": {"locale": "de-DE", "timezone": "Europe/Berlin"}, "sentAt": NOW_ISO}
    )
    assert [verdict.verdict for verdict in found.verdicts] == ["ignored", "accepted", "accepted", "accepted"]
    read = [decode_event(record.value, NOW_MS) for record in found.records]
    assert [(each.name, each.context.locale) for each in read if not isinstance(each, Ignored)] == [
        ("Product Added", "fr-FR"), ("identify", "de-DE"), ("identify", "de-DE"),
    ]  # fmt: skip
    joins = [(each.user_id, each.anonymous_id) for each in read[1:] if not isinstance(each, Ignored)]
    assert joins == [("u", "a"), ("u", "b")]


@pytest.mark.parametrize("body", [{}, {"batch": []}, {"batch": 3}, {"batch": [{}] * 51}])
def test_a_batch_that_holds_nothing_or_too_much_is_a_problem(body: dict[str, Any]) -> None:
    """No calls, no array, or more than the bound."""
    with pytest.raises(Refused):
        called("batch", body)


def test_verdicts_are_short_on_the_wire() -> None:
    """What does not apply is not said."""
    assert msgspec.json.encode(Verdict(2, "duplicate", "m")) == b'{"index":2,"verdict":"duplicate","message_id":"m"}'
