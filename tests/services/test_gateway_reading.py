"""Strategies read and answered over HTTP: by their own ids, as they were published, on the real Redis and Kafka."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from services.gateway_outcomes import Name, Said, outcome_event
from services.gateway_problems import Refused
from services.local.stack import Endpoints
from services.settings import WorkerSettings
from services.worker_store import AnswerStore
from streaming.attribution import on_ghost, on_strategy
from streaming.attribution_credit import meaning
from streaming.contracts.codec import decode_event, encode, instant
from streaming.contracts.events import Event
from streaming.contracts.ids import strategy_id
from streaming.contracts.kinds import KIND_NAMES, Grammar, Kind
from streaming.contracts.partition import bucket_of
from streaming.contracts.strategies import Strategy, Suppression
from streaming.core import State, encode_open
from streaming.keys import BUCKETS_FIELD, BucketKeys, control_key
from streaming.open_state import OpenState
from streaming.row import Row, encode_row
from tests.services.gateway_bench import Bench
from tests.services.gateway_samples import NOW_ISO, NOW_MS
from tests.streaming.attribution_samples import WINDOWS, moved, request, strategy

BUCKETS = 4
USER = "user-1"


@pytest.mark.parametrize("kind", KIND_NAMES)
@pytest.mark.parametrize(
    ("outcome", "means"), [("shown", "shown"), ("clicked", "clicked"), ("unsubscribed", "unsubscribed"), ("complained", "complained")]
)  # fmt: skip
def test_an_outcome_means_to_attribution_what_it_says(kind: Kind, outcome: Name, means: str) -> None:
    """Of every kind, the event that is made echoes the strategy and counts as the outcome that was said."""
    body = json.dumps({"outcome": outcome, "properties": {"product_id": "p1"}}).encode()
    event = decode_event(outcome_event(Said("u", kind, "str_1"), body, NOW_ISO), NOW_MS)
    assert isinstance(event, Event)
    assert (event.user_id, event.at_ms) == ("u", NOW_MS)
    assert getattr(event.properties, "strategy_id", None) == "str_1"
    (opened,) = on_strategy(OpenState(), strategy(0, kind), 0, WINDOWS).state.strategies
    assert meaning(opened, event.name) == means


def test_an_outcome_of_a_declared_kind_is_the_event_that_it_declares() -> None:
    """A kind that does not ship says in the strategy's own request which event shows it and which answers it."""
    grammar = Grammar(
        ("tone",), closed={"tone": ("calm",)}, shown_event="Email Opened", click_event="Email Link Clicked"
    )
    stored = encode({"strategy_id": "str_1", "user_id": "u", "kind": "letter", "request": {"grammar": grammar}})
    said = msgspec.json.decode(stored, type=Said)
    made = [outcome_event(said, b'{"outcome":"%s"}' % name, NOW_ISO) for name in (b"shown", b"clicked")]
    assert [json.loads(each)["event"] for each in made] == ["Email Opened", "Email Link Clicked"]


def test_an_outcome_said_again_is_the_same_event() -> None:
    """The id comes of what was said, not of when it was received; another outcome, strategy or property is another event."""
    said = Said("u", "ad", "str_1")

    def id_of(of: Said = said, now: str = NOW_ISO, **body: object) -> str:
        made = json.loads(outcome_event(of, json.dumps({"outcome": "shown", **body}).encode(), now))
        return str(made["messageId"])

    assert id_of() == id_of(now="2026-02-01T00:00:00+00:00")
    others = [id_of(outcome="clicked"), id_of(Said("u", "ad", "str_2")), id_of(properties={"position": "2"}), id_of()]
    assert len(set(others)) == 4
    assert id_of(message_id="mine") == "mine"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"outcome":"loved"}', b'{"outcome":"shown","reward":1}', b"[]", b"[" * 5000]
)
def test_what_is_no_outcome_is_a_problem(body: bytes) -> None:
    """No JSON, another outcome, a field that is none: said before anything is made of it."""
    with pytest.raises(Refused) as caught:
        outcome_event(Said("u", "ad", "str_1"), body, NOW_ISO)
    assert caught.value.problem.status == 400


class Told(msgspec.Struct):
    """What lies in Redis: strategies that may be shown, oldest first; one that is over; one that was suppressed."""

    valid: list[Strategy]
    over: Strategy
    suppressed: str


def keep(bench: Bench) -> Told:
    """Answers, a row with what attribution keeps of it, and an anonymous id that was merged into it."""
    settings, now = bench.settings, instant(round(time.time() * 1000))
    hour = timedelta(hours=1)
    kinds: list[Kind] = ["recommendation", "ranking"]
    valid = [
        moved(strategy(number, kind), USER, now - (2 - number) * hour, now + hour) for number, kind in enumerate(kinds)
    ]
    over = moved(strategy(7), USER, now - 3 * hour, now - hour)
    refused = Suppression("s", "req_9", USER, "ad", "session_start", "fused", "paused", "", now, "worker")
    suppressed = strategy_id("req_9")
    store = AnswerStore(WorkerSettings(redis_url=settings.redis_url, topic_prefix=settings.topic_prefix))
    store.keep([*((each.strategy_id, encode(each)) for each in (*valid, over)), (suppressed, encode(refused))])
    store.close()
    state = OpenState()
    for each in (valid[1], over, valid[0]):
        state = on_strategy(state, each, 0, WINDOWS).state
    state = on_ghost(state, msgspec.structs.replace(request(8), user_id=USER, issued_at=now), 0, WINDOWS).state
    row, pointer = Row(USER, "fused"), Row("visitor", "fused", alias_of=USER, state="pointer")
    with redis.Redis.from_url(settings.redis_url) as client:
        client.hset(control_key(settings.topic_prefix), BUCKETS_FIELD, BUCKETS)
        for each_row in (row, pointer, Row("silent", "lm")):
            keys = BucketKeys.of(settings.topic_prefix, bucket_of(each_row.user_id, BUCKETS))
            client.hset(keys.rows, each_row.user_id, encode_row(each_row))
        keys = BucketKeys.of(settings.topic_prefix, bucket_of(USER, BUCKETS))
        client.hset(keys.open, USER, encode_open(State(row, state)) or b"")
    return Told(valid, over, suppressed)


@pytest.fixture
def bench(stack: Endpoints, redis_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """A gateway of the test's own."""
    with Bench(stack, topic_prefix, tmp_path, redis_url=redis_url).process() as running:
        yield running


def test_a_customers_strategies_are_read_and_answered(bench: Bench) -> None:
    """Those that may be shown, newest first, as they were published; what is said of one is in its topic."""
    told = keep(bench)
    with bench.client("read") as client:
        for user in (USER, "visitor"):
            answer = client.get(f"/v1/users/{user}/strategies")
            assert answer.status_code == 200
            found = msgspec.json.decode(answer.content, type=dict[str, list[Strategy]])["strategies"]
            assert found == told.valid[::-1]
        assert client.get("/v1/users/silent/strategies").json() == {"strategies": []}
        assert client.get("/v1/users/nobody/strategies").status_code == 404
        assert client.get("/v1/users/visitor/profile").json()["user_id"] == USER
    _answered(bench, told)


def _answered(bench: Bench, told: Told) -> None:
    recommendation, ranking = told.valid

    with bench.client() as client:

        def status(of: str, **body: Any) -> int:
            return client.post(f"/v1/strategies/{of}/outcome", json=body).status_code

        assert status(recommendation.strategy_id, outcome="shown") == 202
        assert status(told.over.strategy_id, outcome="shown") == 202  # late is attribution's to judge
        assert status(ranking.strategy_id, outcome="clicked", properties={"product_id": "p1"}) == 202
        assert status(ranking.strategy_id, outcome="clicked") == 422
        assert status(ranking.strategy_id, outcome="loved") == 400
        assert status(told.suppressed, outcome="shown") == 404
        assert status("str_none", outcome="shown") == 404
    published = bench.published()
    echoed = {
        (name, json.loads(record.value)["event"], json.loads(record.value)["properties"]["strategy_id"])
        for name, records in published.items()
        for record in records
    }
    assert echoed == {
        ("ads.events", "Promotion Viewed", recommendation.strategy_id),
        ("ads.events", "Promotion Viewed", told.over.strategy_id),
        ("shop.events", "Product Clicked", ranking.strategy_id),
    }
    assert {record.key for records in published.values() for record in records} == {USER.encode()}
