"""Contracts over time: old records are read, unknown fields do no harm, and an incompatible change is seen."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from streaming.contracts.asyncapi import VERSION
from streaming.contracts.codec import Ignored, decode, decode_event
from streaming.contracts.compatibility import breaks
from streaming.contracts.events import EVENTS
from streaming.contracts.schemas import CONTRACTS, EVENT_TOPICS
from streaming.contracts.topics import DEAD_LETTERS, TOPICS

HERE = Path(__file__).parent
DOCS = HERE.parents[2] / "docs"
NOW_MS = 1_780_000_000_000
TOPIC_NAMES = [topic.name for topic in TOPICS]
RELEASED_VERSION = "1.0.0"
"""Of the schemas in `released/`."""


def samples(topic: str) -> list[bytes]:
    """Records as the first release wrote them; of dead letters the headers."""
    return (HERE / "samples" / f"{topic}.jsonl").read_bytes().splitlines()


def released(topic: str) -> dict[str, Any]:
    """A schema as the last release had it."""
    return _json(HERE / "released" / f"{topic}.json")


def current(topic: str) -> dict[str, Any]:
    """A schema as it is committed."""
    return _json(DOCS / "schemas" / f"{topic}.json")


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def read(topic: str, value: bytes) -> Any:
    """A record as services read it."""
    if topic in EVENT_TOPICS:
        return decode_event(value, NOW_MS)
    return decode(value, CONTRACTS[topic])


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_old_records_are_read(topic: str) -> None:
    """Every record that the first release wrote is decoded, and valid under the schema of today."""
    found = samples(topic)
    assert found
    validator = Draft202012Validator(current(topic))
    for value in found:
        assert not list(validator.iter_errors(json.loads(value)))
        if topic != DEAD_LETTERS.name:
            assert not isinstance(read(topic, value), Ignored)


def test_every_event_has_a_sample() -> None:
    """No event's contract may change unseen."""
    said = [json.loads(value) for topic in EVENT_TOPICS for value in samples(topic)]
    assert {each.get("event", "identify") for each in said} == EVENTS.keys()


@pytest.mark.parametrize("topic", [name for name in TOPIC_NAMES if name != DEAD_LETTERS.name])
def test_fields_that_nobody_knows_do_no_harm(topic: str) -> None:
    """A newer writer may say more in every object of a record: what is known of it reads as before."""
    for value in samples(topic):
        assert read(topic, json.dumps(_with_more(json.loads(value))).encode()) == read(topic, value)


FREE = frozenset({
    "attributes", "context", "decision", "slot_propensities", "components", "numbers", "categories", "category_affinity",
    "brand_affinity", "channel_response", "relation", "salts", "offsets", "metrics", "categoryPreferences",
})  # fmt: skip
"""Objects whose names are data."""


def _with_more(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        more = {} if name in FREE and "locale" not in value else {"x_future": {"added": [1, None, "x"]}}
        return {key: _with_more(each, key) for key, each in value.items()} | more
    return [_with_more(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_schemas_follow_the_last_release(topic: str) -> None:
    """What a reader or a writer of the last release relies on is still so."""
    assert breaks(released(topic), current(topic)) == []


def test_what_changed_is_told() -> None:
    """Schemas that differ from the last release's have another version, which the record of changes names."""
    changed = [topic for topic in TOPIC_NAMES if released(topic) != current(topic)]
    assert (VERSION != RELEASED_VERSION) == bool(changed)
    told = re.findall(r"^\| (\d+\.\d+\.\d+) \|", (DOCS / "contracts.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {RELEASED_VERSION, VERSION} <= set(told)


def _removed(schema: dict[str, Any]) -> None:
    del schema["$defs"]["Slot"]["properties"]["values"]


def _required(schema: dict[str, Any]) -> None:
    schema["$defs"]["StrategyRequest"]["required"].append("cause")


def _retyped(schema: dict[str, Any]) -> None:
    schema["$defs"]["StrategyRequest"]["properties"]["deadline_s"] = {"type": "string"}


def _renamed(schema: dict[str, Any]) -> None:
    schema["$defs"]["StrategyRequest"]["properties"]["customer_id"] = schema["$defs"]["StrategyRequest"][
        "properties"
    ].pop("user_id")


def _narrower(schema: dict[str, Any]) -> None:
    schema["$defs"]["StrategyRequest"]["properties"]["slots"]["minItems"] = 2


def _fewer_values(schema: dict[str, Any]) -> None:
    schema["$defs"]["StrategyRequest"]["properties"]["trigger"]["enum"].remove("price_drop")


def _closed(schema: dict[str, Any]) -> None:
    schema["$defs"]["Candidate"]["additionalProperties"] = False


def _another_default(schema: dict[str, Any]) -> None:
    schema["$defs"]["StrategyRequest"]["properties"]["cause"]["default"] = "unknown"


def _deeper(schema: dict[str, Any]) -> None:
    schema["$defs"]["Features"]["properties"]["numbers"]["additionalProperties"] = {"type": "integer"}


CHANGES = {
    _removed: "$.slots[items].values: removed",
    _required: "$.cause: required",
    _retyped: "$.deadline_s: integer/number became string",
    _renamed: "$.user_id: removed",
    _narrower: "$.slots: minItems 1 became 2",
    _fewer_values: "$.trigger: 'price_drop' is no value any more",
    _closed: "$.candidates[items]: unknown fields are refused",
    _another_default: "$.cause: absent meant '' and means 'unknown'",
    _deeper: "$.features.numbers[additionalProperties]: integer/number became integer",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_incompatible_change_is_seen(change: Any) -> None:
    """Each kind of change that a reader or a writer would notice is told, with its place."""
    old = released("strategy.requests")
    new = copy.deepcopy(old)
    change(new)
    assert CHANGES[change] in breaks(old, new)


def test_an_event_may_not_vanish() -> None:
    """Neither an event of a topic nor a field of one of its events."""
    old = released("shop.events")
    gone, poorer = copy.deepcopy(old), copy.deepcopy(old)
    gone["oneOf"] = [each for each in gone["oneOf"] if not each["$ref"].endswith("/OrderRefunded")]
    del poorer["$defs"]["OrderProperties"]["properties"]["coupon"]
    assert breaks(old, gone)
    assert breaks(old, poorer) == ["$.properties.coupon: removed"]


def _additions() -> Iterator[dict[str, Any]]:
    old = released("strategy.requests")
    for _ in range(3):
        yield copy.deepcopy(old)


def test_additions_are_free() -> None:
    """An optional field, another value of a closed set, a wider type."""
    field, value, wider = _additions()
    field["$defs"]["StrategyRequest"]["properties"]["mood"] = {"type": "string", "default": ""}
    value["$defs"]["StrategyRequest"]["properties"]["trigger"]["enum"].append("birthday")
    wider["$defs"]["StrategyRequest"]["properties"]["cause"] = {
        "anyOf": [{"type": "string"}, {"type": "null"}],
        "default": "",
    }
    for new in (field, value, wider):
        assert breaks(released("strategy.requests"), new) == []
        assert breaks(new, released("strategy.requests"))  # and no way back
