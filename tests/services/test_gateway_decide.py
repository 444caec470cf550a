"""`POST /v1/decide` on the real Kafka and Redis; the tests say what agents would, a real worker answers."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import redis
from msgspec import UNSET, Raw, UnsetType

from services.gateway_deciding import Decision, Status, decision_of, event_of, parsed
from services.gateway_problems import Refused
from services.local.stack import Endpoints
from services.settings import WorkerSettings
from services.worker_store import DEFAULTED
from streaming.contracts.codec import decode, decode_event, encode, instant
from streaming.contracts.events import Event
from streaming.contracts.ids import derive, request_id, strategy_id
from streaming.contracts.kinds import KIND_NAMES, Kind
from streaming.contracts.partition import bucket_of
from streaming.contracts.strategies import Strategy, StrategyRequest, Suppression
from streaming.contracts.topics import STRATEGIES, SUPPRESSIONS
from streaming.keys import BUCKETS_FIELD, BucketKeys, control_key
from streaming.row import Row, encode_row
from tests.installation import installation
from tests.model.sample import request_of
from tests.services import worker_samples
from tests.services.gateway_bench import PATIENCE_S, Bench
from tests.services.gateway_samples import NOW_ISO, NOW_MS

LONG_MS = 60_000
"""A deadline that nothing here misses."""


class World:
    """A gateway, and the same installation as agents and a worker see it."""

    def __init__(self, gateway: Bench, worker: worker_samples.Bench) -> None:
        """Nothing is asked yet."""
        self.gateway, self.worker = gateway, worker

    def decide(self, said: Callable[[], None] | None = None, **body: Any) -> Decision:
        """The answer, while `said` says again and again what the agents say of it."""
        found: list[tuple[int, bytes]] = []

        def call() -> None:
            key = {"Authorization": f"Bearer {self.gateway.keys['publish']}"}
            with self.gateway.client() as client:
                answer = client.post("/v1/decide", json=body, headers=key)
                found.append((answer.status_code, answer.content))

        calling = threading.Thread(target=call)
        calling.start()
        while calling.is_alive():
            if said is not None:
                said()
            calling.join(0.1)
        (status, content) = found[0]
        assert status == 200, content
        return msgspec.json.decode(content, type=Decision)


@pytest.fixture(scope="module")
def world(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests, each with customers of its own."""
    prefix, home = f"decide-{uuid.uuid4().hex[:8]}.", tmp_path_factory.mktemp("decide")
    worker = worker_samples.Bench(installation(WorkerSettings, stack, prefix, home, device="cpu"))
    with Bench(stack, prefix, home).process() as gateway:
        gateway.keys["publish"] = gateway.key(("publish", "read"))
        gateway.until(lambda: gateway.health("ready")[0] == 200)
        yield World(gateway, worker)
    worker.close()


def asked_for(user: str, message_id: str, kind: Kind = "recommendation") -> StrategyRequest:
    """The request that agents make of the event."""
    return msgspec.structs.replace(
        worker_samples.patient(request_of(3, kind=kind, candidates=3, arm="fused")),
        request_id=request_id(user, "decision_requested", kind, message_id),
        user_id=user,
        trigger="decision_requested",
        cause=message_id,
    )


def raw(part: Raw | UnsetType) -> bytes:
    """A part of an answer that must be there, byte for byte."""
    assert isinstance(part, Raw)
    return bytes(part)


def events(world: World, message_id: str) -> list[dict[str, Any]]:
    """What was published under this id."""
    found = [json.loads(record.value) for record in world.gateway.published()["shop.events"]]
    return [event for event in found if event["messageId"] == message_id]


def test_the_workers_strategy_is_answered_as_it_is_published(world: World) -> None:
    """Asked for by an event, decided by the worker, byte for byte; asked again it is the same, and no second event."""
    request = asked_for("user-1", "d-1")
    with world.worker.worker():
        decided = world.decide(
            lambda: world.worker.ask(request),
            user_id="user-1",
            kind="recommendation",
            query="tea",
            message_id="d-1",
            deadline_ms=LONG_MS,
        )
        (published, *_) = world.worker.read(STRATEGIES, lambda found: any(r.key == b"user-1" for r in found))
    assert (decided.status, decided.request_id) == ("decided", request.request_id)
    assert raw(decided.strategy) == published.value
    again = world.decide(user_id="user-1", kind="recommendation", message_id="d-1", deadline_ms=LONG_MS)
    assert again == decided
    (event,) = events(world, "d-1")
    assert (event["event"], event["userId"], event["properties"]) == (
        "Decision Requested",
        "user-1",
        {"kind": "recommendation", "query": "tea"},
    )


def test_a_suppressed_call_says_why(world: World) -> None:
    """What the agents record of it is the answer."""
    request = request_id("user-2", "decision_requested", "ad", "d-2")
    why = Suppression(
        derive("sup", request, "daily_cap"), request, "user-2", "ad", "decision_requested", "fused", "daily_cap",
        "3 of 3 today", instant(NOW_MS), "agents", "d-2",
    )  # fmt: skip
    found = world.decide(
        lambda: world.worker.send(SUPPRESSIONS, "user-2", encode(why)),
        user_id="user-2",
        kind="ad",
        message_id="d-2",
        deadline_ms=LONG_MS,
    )
    assert (found.status, found.strategy) == ("suppressed", UNSET)
    assert decode(raw(found.suppression), Suppression) == why
    again = world.decide(user_id="user-2", kind="ad", message_id="d-2", deadline_ms=LONG_MS)
    assert again == found  # agents skip an event that they know: nothing would ever come


def fallback(world: World, user: str) -> tuple[str, Decision]:
    """Message id and answer of a call that no worker answers; with more time where the machine needs it to hear the request."""
    for number, deadline_ms in enumerate((700, 3000, 12_000, LONG_MS)):
        message_id = f"{user}-{number}"
        request = asked_for(user, message_id)
        body = {"kind": "recommendation", "message_id": message_id, "deadline_ms": deadline_ms}
        found = world.decide(lambda asked=request: world.worker.ask(asked), user_id=user, **body)  # type: ignore[misc]
        if found.status != "default":
            return message_id, found
    raise AssertionError("the request was never heard")


def test_at_the_deadline_the_critic_answers_and_the_worker_publishes_the_same(world: World) -> None:
    """Marked as late, stored first: a worker that comes back later publishes what was answered."""
    message_id, found = fallback(world, "user-3")
    strategy = decode(raw(found.strategy), Strategy)
    assert found.status == "fallback"
    assert strategy.request == asked_for("user-3", message_id)
    assert strategy.strategy_id == strategy_id(found.request_id)
    assert (strategy.policy.late, strategy.policy.acting_arm, strategy.policy.adapter) == (True, "critic", "none")
    assert strategy.message.source == "template"

    def told(records: list[Any]) -> bool:
        return any(decode(record.value, Strategy).request_id == found.request_id for record in records)

    with world.worker.worker():
        records = world.worker.read(STRATEGIES, told)
    published = {r.value for r in records if decode(r.value, Strategy).request_id == found.request_id}
    assert published == {raw(found.strategy)}


def test_the_critic_that_is_served_answers(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Once one is announced, a fallback names it."""
    version = world.worker.publish_critic(1, tmp_path_factory.mktemp("critic"), seed=5)
    world.worker.serve(1, critic=version.name)
    give_up = time.monotonic() + PATIENCE_S
    for number in range(1000):
        _, found = fallback(world, f"user-4-{number}")
        if decode(raw(found.strategy), Strategy).policy.critic == version.name:
            break
        assert time.monotonic() < give_up, "the announced critic never answered"


def test_of_whom_nothing_is_known_at_the_deadline_the_default_is_shown(world: World) -> None:
    """No agent speaks: the caller is told to do without us, and the event is in the topic all the same."""
    found = world.decide(anonymous_id="visitor-5", kind="promotion", message_id="d-5", deadline_ms=1)
    request = request_id("visitor-5", "decision_requested", "promotion", "d-5")
    assert found == Decision("default", request)
    world.gateway.until(lambda: bool(events(world, "d-5")))
    assert events(world, "d-5")[0]["anonymousId"] == "visitor-5"
    again = world.decide(anonymous_id="visitor-5", kind="promotion", message_id="d-5", deadline_ms=LONG_MS)
    assert again == found  # at once: nobody waits for an agent that is not there
    assert world.gateway.metric('stratagem_gateway_decisions_total{status="default"}') >= 1


def test_no_worker_decides_what_its_caller_went_on_without(world: World) -> None:
    """The request that comes late is answered by a suppression, the same however often it comes."""
    found = world.decide(user_id="user-9", kind="recommendation", message_id="d-9", deadline_ms=1)
    assert found.status == "default"
    request = asked_for("user-9", "d-9")
    assert request.request_id == found.request_id

    def told(times: int) -> list[bytes]:
        def enough(records: list[Any]) -> bool:
            return len(ours(records)) == times

        def ours(records: list[Any]) -> list[bytes]:
            return [r.value for r in records if decode(r.value, Suppression).request_id == found.request_id]

        world.worker.ask(request)
        return ours(world.worker.read(SUPPRESSIONS, enough))

    with world.worker.worker():
        told(1)
        first, second = told(2)
    assert first == second
    why = decode(first, Suppression)
    assert (why.reason, why.by, why.arm) == ("defaulted", "worker", "fused")


def test_a_merged_visitor_is_asked_for_as_the_customer(world: World) -> None:
    """The event and its request are the customer's, whom the visitor's id stands for."""
    prefix, buckets = world.gateway.settings.topic_prefix, 4
    with redis.Redis.from_url(world.gateway.settings.redis_url) as client:
        client.hset(control_key(prefix), BUCKETS_FIELD, buckets)
        for row in (Row("user-6", "lm"), Row("visitor-6", "lm", alias_of="user-6", state="pointer")):
            client.hset(BucketKeys.of(prefix, bucket_of(row.user_id, buckets)).rows, row.user_id, encode_row(row))
    found = world.decide(anonymous_id="visitor-6", kind="ad", message_id="d-6", deadline_ms=1)
    assert found.request_id == request_id("user-6", "decision_requested", "ad", "d-6")


def test_what_asks_for_nothing_is_a_problem(world: World) -> None:
    """A kind that agents are not asked for: the verdict names the field, and nothing is published."""
    with world.gateway.client() as client:
        answer = client.post("/v1/decide", json={"user_id": "user-7", "kind": "poem", "message_id": "d-7"})
    assert (answer.status_code, answer.json()["verdicts"][0]["field"]) == (422, "properties.kind")
    assert events(world, "d-7") == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"kind":"ad"}',
        b'{"kind":"ad","user_id":"u","anonymous_id":"a"}',
        b'{"kind":"ad","user_id":"u","deadline_ms":0}',
        b'{"kind":"ad","user_id":"u","deadline_ms":60001}',
        b'{"kind":"ad","user_id":"u","arm":"lm"}',
        b"[" * 5000,
    ],
)
def test_no_body_but_a_question_is_taken(body: bytes) -> None:
    """Whose strategy, of which kind, by when: nothing else, and nothing missing."""
    with pytest.raises(Refused) as caught:
        parsed(body)
    assert caught.value.problem.status == 400


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_event_fits_the_contract(kind: Kind) -> None:
    """Of every kind, with all that a caller may say."""
    asked = parsed(
        json.dumps({"kind": kind, "user_id": "u", "category": "tea", "context": {"locale": "de-DE"}}).encode()
    )
    event = decode_event(event_of(asked, "u", "m", NOW_ISO), NOW_MS)
    assert isinstance(event, Event)
    assert (event.name, event.user_id, event.message_id, event.at_ms) == ("Decision Requested", "u", "m", NOW_MS)


@pytest.mark.parametrize(
    ("answer", "ours", "status"),
    [
        (DEFAULTED, False, "default"),
        (b'{"suppression_id":"s"}', False, "suppressed"),
        (b'{"strategy_id":"s"}', True, "fallback"),
        (b'{"strategy_id":"s"}', False, "decided"),
    ],
)
def test_an_answer_says_where_it_comes_from(answer: bytes, ours: bool, status: Status) -> None:  # noqa: FBT001 -- pytest gives parameters by name
    """By the worker, by the gateway, by the rules, by nobody."""
    assert decision_of("req_1", answer, ours=ours).status == status
