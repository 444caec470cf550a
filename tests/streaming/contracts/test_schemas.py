"""JSON Schemas and the AsyncAPI document: current, well-formed, and true of real messages."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema import Draft202012Validator

from services.shop.days import plan_day
from services.shop.world import World, load_world
from streaming.attribution import on_event, on_ghost, on_strategy, on_time
from streaming.contracts.adapters import GateDecision, Serving, Version
from streaming.contracts.asyncapi import EXAMPLES, document, files, main
from streaming.contracts.codec import Ignored, decode, decode_event, encode, instant
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import EVENTS
from streaming.contracts.kinds import ANSWERS, GRAMMARS, KIND_NAMES
from streaming.contracts.progress import Progress
from streaming.contracts.schemas import CONTRACTS, event_name, schemas
from streaming.contracts.strategies import Check, Suppression
from streaming.contracts.topics import DEAD_LETTERS, TOPICS
from streaming.dead_letters import dead_letter
from streaming.open_state import OpenState
from tests.streaming.attribution_samples import SHELF, WINDOWS, at, echo, order, refund, request, strategy

DOCS = Path(__file__).parents[3] / "docs"
DAY_MS = 24 * 3600 * 1000


def validator(topic: str) -> Draft202012Validator:
    """A validator by the committed file of a topic; formats are checked."""
    schema = json.loads((DOCS / "schemas" / f"{topic}.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.fixture(scope="module")
def world() -> World:
    """A small shop made from the extract that ships."""
    return load_world(None, seed=3, households=60, days=3.0)


def rewards() -> Iterator[bytes]:
    """Every stage of every kind, and a ghost's, by attribution itself."""
    for number, kind in enumerate(KIND_NAMES):
        s = strategy(number, kind)
        click = "Product Clicked" if kind == "ranking" else "Promotion Clicked"
        step = on_strategy(OpenState(), s, 0, WINDOWS)
        step = on_ghost(step.state, request(100 + number, kind), 0, WINDOWS)
        for record in (echo(click, s, 1), order("o1", 2, "p1", "p3"), refund("o1", 100, total="1.00")):
            step = on_event(step.state, record, SHELF, 0, WINDOWS)
        yield from (encode(reward) for reward in on_time(step.state, at(200), WINDOWS).rewards)


def own_messages() -> Iterator[tuple[str, bytes]]:
    """A message of every topic that Stratagem writes values to."""
    now = datetime(2026, 1, 31, tzinfo=UTC)
    for number, kind in enumerate(KIND_NAMES):
        yield "strategy.requests", encode(request(number, kind))
        yield "strategies", encode(strategy(number, kind))
    asked = request(1)
    suppressed = Suppression(
        "sup_1", asked.request_id, "u1", asked.kind, asked.trigger, "holdout", "holdout", "", now, "agents"
    )
    yield "strategy.suppressions", encode(suppressed)
    yield from (("strategy.rewards", value) for value in rewards())
    yield (
        "model.adapters",
        encode(Version("adapter-1", "adapter", "file:///v", "0", "b", "1", "", now, {}, {"kl": 0.1})),
    )
    yield "model.adapters", encode(Serving(1, 2, "adapter-1", "base", "", "critic-1", {"anchor": "s"}, 0.1, now))
    yield (
        "model.decisions",
        encode(
            GateDecision(
                "d1", "adapter-1", "adapter", "refused", "kl", (Check("kl", passed=False),), {"kl": 2.0}, now, "updater"
            )
        ),
    )
    yield "stream.progress", encode(Progress("shop.events", 0, now, 42))


def test_committed_files_are_current(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in `docs/` is what the types give; a file that differs is named."""
    assert main(["--check"], DOCS) == 0
    assert main(["--check"], tmp_path) == 1
    assert "asyncapi.json is not current" in capsys.readouterr().err
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    assert sorted(p.name for p in (DOCS / "schemas").iterdir()) == sorted(
        p.name for p in (tmp_path / "schemas").iterdir()
    )


def test_every_topic_has_a_valid_schema() -> None:
    """One schema a topic, each itself valid by its dialect."""
    made = schemas()
    assert set(made) == {spec.name for spec in TOPICS}
    for schema in made.values():
        Draft202012Validator.check_schema(schema)


def test_the_shops_real_events_are_valid(world: World) -> None:
    """Every event of two days that our decoder takes, the schema takes; both know every event name."""
    checks = {topic: validator(topic) for topic in ("shop.events", "ads.events")}
    taken = 0
    for day in range(2):
        day_ms = round(world.begin.timestamp() * 1000) + day * DAY_MS
        for each in plan_day(world, day_ms, [], first=day == 0):
            if _decodes(each.value, each.at_ms):
                checks[each.topic].validate(json.loads(each.value or b""))
                taken += 1
    assert taken > 50


def _decodes(value: bytes | None, now_ms: int) -> bool:
    try:
        return not isinstance(decode_event(value, now_ms), Ignored)
    except BadEvent:
        return False


def test_the_shops_real_catalog_is_valid(world: World) -> None:
    """Products and campaigns of the extract."""
    for topic, records in (("shop.catalog", world.catalog), ("shop.campaigns", world.campaigns)):
        check = validator(topic)
        assert records
        for record in records.values():
            check.validate(json.loads(encode(record)))


def test_our_own_messages_are_valid() -> None:
    """Each topic's messages, by the committed schema, and again after a decoding."""
    seen = set()
    for topic, value in own_messages():
        validator(topic).validate(json.loads(value))
        assert encode(decode(value, CONTRACTS[topic])) == value
        seen.add(topic)
    assert seen == set(CONTRACTS) - {"shop.catalog", "shop.campaigns"}


def test_dead_letters_carry_the_headers_they_state() -> None:
    """The headers of real letters, ordinary and too large."""
    check = validator(DEAD_LETTERS.name)
    for value in (b"{", b"x" * 100_000, None):
        letter = dead_letter(
            topic="shop.events",
            partition=1,
            offset=2,
            key=b"k" * 2000,
            value=value,
            reason="bad_event",
            at_ms=0,
            field="$",
            wanted="JSON",
            traceback="...",
        )
        headers = {name: text.decode() for name, text in letter.headers}
        check.validate(headers)
        assert set(headers) <= set(schemas()[DEAD_LETTERS.name]["properties"])


@pytest.mark.parametrize(
    "change",
    [
        {"messageId": 5},
        {"timestamp": 1_700_000_000},
        {"userId": ""},
        {"userId": None},
        {"properties": {"order_id": "o", "currency": "dollars", "products": [{"product_id": "p"}]}},
        {"properties": {"order_id": "o", "currency": "USD", "products": []}},
        {"properties": {"order_id": "o", "currency": "USD", "products": [{"product_id": "p", "price": -1}]}},
        {"properties": {"order_id": "o", "currency": "USD", "products": [{"product_id": "p", "price": "NaN"}]}},
        {"properties": {"order_id": "o", "currency": "USD", "products": [{"product_id": "p", "quantity": 0}]}},
    ],
)
def test_what_the_decoder_refuses_the_schema_refuses(change: dict[str, Any]) -> None:
    """A shop that validates before publishing learns the same."""
    bad = {**EXAMPLES["OrderCompleted"], **change}
    with pytest.raises(BadEvent):
        decode_event(json.dumps(bad).encode(), at(0) + 400 * DAY_MS)
    with pytest.raises(jsonschema.ValidationError):
        validator("shop.events").validate(bad)


def test_unknown_properties_pass_and_money_may_be_text() -> None:
    """A newer shop's properties pass; a price may be a number or a string; anonymous customers are customers."""
    good = json.loads(json.dumps(EXAMPLES["OrderCompleted"]))
    good["properties"]["affiliation"] = "web"
    good["properties"]["products"][0]["price"] = "7.99"
    good["anonymousId"] = good.pop("userId")
    validator("shop.events").validate(good)
    assert not isinstance(decode_event(json.dumps(good).encode(), at(0) + 400 * DAY_MS), Ignored)


def test_asyncapi_is_well_formed() -> None:
    """Required sections stand, every reference resolves, operations and bindings agree with the topics."""
    made = json.loads(files()["asyncapi.json"])
    assert made["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(made["info"])
    assert set(made["channels"]) == {spec.name for spec in TOPICS}
    for reference in _references(made):
        target: Any = made
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert isinstance(target, dict)
    for operation in made["operations"].values():
        assert operation["action"] in ("send", "receive")
    for spec in TOPICS:
        channel = made["channels"][spec.name]
        assert channel["address"] == spec.name
        assert channel["x-partitioner"] == "murmur2"
        assert channel["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] == [spec.cleanup]
    receiving = {o["channel"]["$ref"] for o in made["operations"].values() if o["action"] == "receive"}
    assert receiving == {
        f"#/channels/{name}" for name in ("shop.events", "ads.events", "shop.catalog", "shop.campaigns")
    }


def test_asyncapi_names_every_event_and_its_examples_are_valid() -> None:
    """Each event is a message of both event channels; each example validates against its payload's schema."""
    made = document()
    for topic in ("shop.events", "ads.events"):
        assert set(made["channels"][topic]["messages"]) == {event_name(name) for name in EVENTS}
    shown = 0
    for message in made["components"]["messages"].values():
        for example in message.get("examples", []):
            schema = {**message["payload"], "components": made["components"]}
            Draft202012Validator(schema).validate(example["payload"])
            shown += 1
    assert shown == len(EXAMPLES)


def test_times_are_stated_as_date_times() -> None:
    """Every moment on the wire is ISO 8601 and its schema says so."""
    assert schemas()["strategies"]["$defs"]["Strategy"]["properties"]["issued_at"]["format"] == "date-time"
    assert (
        schemas()["strategy.rewards"]["$defs"]["Outcomes"]["properties"]["shown_at"]["anyOf"][0]["format"]
        == "date-time"
    )
    assert instant(at(0)).isoformat().endswith("+00:00")


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_page_for_consumers_names_what_attribution_reads(kind: str) -> None:
    """The table of what to echo says of each kind the events and the topic of its grammar."""
    page = (DOCS / "consuming-strategies.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{kind}` |"))
    grammar = GRAMMARS[kind]
    for name in (grammar.shown_event, grammar.click_event, grammar.topic_of_shown):
        assert f"`{name}`" in row


def test_what_may_answer_a_kind_echoes_its_strategy() -> None:
    """Every event that a grammar may name has a `strategy_id`; those left out are orders, costs and consent."""
    echoing = {name for name, properties in EVENTS.items() if "strategy_id" in properties.__struct_fields__}
    others = {"Order Completed", "Ad Cost Recorded", "Unsubscribed", "Email Marked as Spam"}
    assert echoing - set(ANSWERS) == others
    assert set(ANSWERS) <= echoing
