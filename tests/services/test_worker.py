"""The model worker on the real Kafka and Redis."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from model import adapter
from model.critic import Critic
from model.fresh import random_lm
from model.grid import ActionGrid
from model.policy import propensity
from services import metrics
from services.local.stack import Endpoints
from services.records import Record
from services.settings import WorkerSettings
from services.worker_answers import Answerer
from services.worker_intake import Ask, take
from services.worker_serving import ServingTable
from services.worker_store import AnswerStore
from streaming.contracts import codec
from streaming.contracts.codec import encode
from streaming.contracts.ids import strategy_id
from streaming.contracts.kinds import GRAMMARS, KIND_NAMES, Arm
from streaming.contracts.strategies import Strategy, StrategyRequest, Suppression
from streaming.contracts.topics import DEAD_LETTERS, REQUESTS, STRATEGIES, SUPPRESSIONS
from streaming.control import pause
from streaming.reward import Formula
from tests.installation import installation
from tests.model.sample import request_of
from tests.services.schema_checks import assert_valid
from tests.services.worker_samples import Bench, patient, tiny_lm


@pytest.fixture
def bench(stack: Endpoints, redis_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """An installation of the test's own."""
    more = {"redis_url": redis_url, "device": "cpu", "batch_size": 8}
    made = Bench(installation(WorkerSettings, stack, topic_prefix, tmp_path, **more))
    yield made
    made.close()


def test_every_request_gets_one_strategy_with_every_field(bench: Bench) -> None:
    """All kinds and arms: one answer each, under the derived id, keyed by customer, allowed, exact and explained."""
    arms: tuple[Arm, ...] = ("fused", "lm", "critic", "random")
    asked = [patient(request_of(i, kind=KIND_NAMES[i % 4], candidates=3, arm=arms[i // 4 % 4])) for i in range(16)]
    with bench.worker():
        for request in asked:
            bench.ask(request)
        records = bench.read(STRATEGIES, lambda found: len(found) >= len(asked))
    answers = {answer.request_id: answer for answer in (codec.decode(r.value, Strategy) for r in records)}
    assert len(records) == len(answers) == len(asked)
    assert assert_valid(STRATEGIES.name, (record.value for record in records)) == len(asked)
    assert {record.key.decode() for record in records} == {request.user_id for request in asked}
    for request in asked:
        answer = answers[request.request_id]
        grid = ActionGrid.of(request)
        assert answer.strategy_id == strategy_id(request.request_id)
        assert answer.request == request
        assert tuple(answer.decision) == GRAMMARS[request.kind].slots
        assert grid.allowed[grid.index(answer.decision)]
        assert np.prod(list(answer.slot_propensities.values())) == pytest.approx(answer.propensity, rel=1e-12)
        assert (answer.policy.assigned_arm, answer.policy.acting_arm) == (request.arm, request.arm)
        assert answer.policy.adapter == "base"
        assert answer.policy.actions == grid.count
        assert answer.message.title
        assert answer.message.body
        assert answer.message.language == request.language
        assert answer.valid_until >= request.issued_at + timedelta(hours=24)
        assert {alternative.slot for alternative in answer.explanation.alternatives} <= set(answer.decision)
        assert answer.explanation.effects == ()  # the critic's prior has learned of no feature yet


def test_the_logged_propensity_can_be_recomputed(bench: Bench) -> None:
    """From the published strategy alone, with its versions at hand, log p agrees within 1e-4."""
    asked = [patient(request_of(i, kind=KIND_NAMES[i % 4], candidates=3, arm="lm")) for i in range(4)]
    with bench.worker():
        for request in asked:
            bench.ask(request)
        answers = bench.strategies(4)
    lm = tiny_lm()
    for answer in answers:
        rows = lm.slot_log_probs(lm.encode([answer.request]), [answer.request], [answer.decision])[0]
        again = propensity(answer.request, answer.decision, answer.policy, None, [row.numpy() for row in rows])
        assert abs(np.log(again / answer.propensity)) < 1e-4


def decoded(request: StrategyRequest, seed: int) -> bytes:
    """What a worker with this seed would store for a request."""
    lm = tiny_lm()
    adapter.attach(lm)
    answerer = Answerer(lm, ServingTable(lm, Critic.prior(0, 8, Formula())), temperature=0.4, seed=seed)
    ask = take(Record(REQUESTS.name, 0, 0, b"", codec.encode(request), 0))
    assert isinstance(ask, Ask)
    return encode(answerer.answer([ask])[0])


def test_after_a_crash_between_store_and_publish_the_stored_one_is_published(bench: Bench) -> None:
    """A second decoding with other random numbers publishes the first one's bytes, not its own."""
    request = patient(request_of(5, candidates=8, arm="random"))
    first = decoded(request, seed=1)
    assert AnswerStore(bench.settings).keep([(strategy_id(request.request_id), first)]) == [first]
    bench.ask(request)
    with bench.worker(seed=2):
        published = bench.read(STRATEGIES, bool)[0].value
    assert published == first
    assert decoded(request, seed=2) != first


def test_a_request_delivered_twice_is_answered_with_the_same_bytes(bench: Bench) -> None:
    """A redelivery repeats the answer; consumers deduplicate by its id."""
    request = patient(request_of(6, arm="random"))
    with bench.worker(seed=1):
        bench.ask(request)
        bench.strategies(1)
    with bench.worker(seed=2):
        bench.ask(request)
        records = bench.read(STRATEGIES, lambda found: len(found) >= 2)
    assert len({record.value for record in records}) == 1


def test_what_was_committed_is_not_read_again(bench: Bench) -> None:
    """A new worker of the group goes on where the last one had acknowledged answers."""
    with bench.worker():
        bench.ask(patient(request_of(1)))
        bench.strategies(1)
    with bench.worker():
        bench.ask(patient(request_of(2)))
        bench.strategies(2)
    assert len(bench.strategies(2)) == 2


def test_a_late_request_is_answered_by_the_critic_alone(bench: Bench) -> None:
    """Past the deadline, counted from Kafka's timestamp, the assigned arm stays and the critic acts."""
    late = msgspec.structs.replace(request_of(1, arm="fused"), deadline_s=5.0)
    bench.ask(late, timestamp_ms=round(time.time() * 1000) - 60_000)
    with bench.worker():
        record = bench.read(STRATEGIES, bool)[0]
    assert assert_valid(STRATEGIES.name, [record.value]) == 1
    answer = codec.decode(record.value, Strategy)
    assert answer.policy.late
    assert (answer.policy.assigned_arm, answer.policy.acting_arm) == ("fused", "critic")
    assert answer.policy.adapter == "none"
    assert answer.message.source == "template"


def test_stale_and_paused_requests_are_recorded_not_answered(bench: Bench) -> None:
    """Older than half the life of stored strategies, or paused: a suppression by the worker, and no strategy."""
    with bench.worker(strategy_ttl_s=120) as worker:
        bench.ask(patient(request_of(1)), timestamp_ms=round(time.time() * 1000) - 90_000)
        stale = bench.read(SUPPRESSIONS, bool)
        pause(worker._store._redis, bench.settings.topic_prefix)
        bench.ask(patient(request_of(2)))
        both = bench.read(SUPPRESSIONS, lambda found: len(found) >= 2)
    assert [codec.decode(record.value, Suppression).reason for record in stale] == ["stale"]
    found = {one.request_id: one for one in (codec.decode(record.value, Suppression) for record in both)}
    assert {one.reason for one in found.values()} == {"stale", "paused"}
    assert {one.by for one in found.values()} == {"worker"}
    assert assert_valid(SUPPRESSIONS.name, (record.value for record in both)) == 2


def test_a_suppressed_request_stays_suppressed(bench: Bench) -> None:
    """Redelivered after `resume`, a request that was recorded as paused does not get a strategy as well."""
    request = patient(request_of(3))
    with bench.worker() as worker:
        client, prefix = worker._store._redis, bench.settings.topic_prefix
        pause(client, prefix)
        bench.ask(request)
        bench.read(SUPPRESSIONS, bool)
        client.hdel(f"stratagem:{prefix}control", "paused")
        bench.ask(request)
        again = bench.read(SUPPRESSIONS, lambda found: len(found) >= 2)
    assert again[0].value == again[1].value


def test_bad_requests_are_dead_lettered_by_field_and_the_stream_goes_on(bench: Bench) -> None:
    """Not JSON, a wrong type, an unknown candidate, the holdout arm: each with its field; tombstones are passed over."""
    good = codec.encode(request_of(1))
    tree = msgspec.json.decode(good)
    bad = {
        "$": b"\xff not json",
        "deadline_s": msgspec.json.encode({**tree, "deadline_s": "soon"}),
        "kind": msgspec.json.encode({**tree, "kind": "poem"}),
        "slots[0].values": msgspec.json.encode(
            {**tree, "slots": [{"name": "product", "values": ["nobody"]}, *tree["slots"][1:]]}
        ),
        "arm": msgspec.json.encode({**tree, "arm": "holdout"}),
    }
    with bench.worker():
        for value in (*bad.values(), None, b""):
            bench.send(REQUESTS, "somebody", value)
        bench.ask(patient(request_of(9)))
        letters = bench.read(DEAD_LETTERS, lambda found: len(found) >= len(bad))
        assert len(bench.strategies(1)) == 1
    found = {dict(letter.headers)["field"].decode().removeprefix("$."): letter for letter in letters}
    assert set(found) == set(bad)
    for field, letter in found.items():
        assert letter.value == bad[field]
        assert dict(letter.headers)["reason"] == b"bad_request"


def test_our_own_bug_on_one_request_stops_neither_its_batch_nor_the_stream(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that trips our code twice is dead-lettered as `bug` with its traceback; the others are answered."""
    whole = Answerer._strategy

    def trips(self: Answerer, ask: Ask, *rest: Any) -> Strategy:
        if ask.request.user_id == "user-2":
            raise RuntimeError("planted")
        return whole(self, ask, *rest)

    monkeypatch.setattr(Answerer, "_strategy", trips)
    for seed in range(4):
        bench.ask(patient(request_of(seed)))
    with bench.worker():
        letter = bench.read(DEAD_LETTERS, bool)[0]
        answers = bench.strategies(3)
    headers = dict(letter.headers)
    assert headers["reason"] == b"bug"
    assert headers["blame"] == b"us"
    assert b"planted" in headers["traceback"]
    assert {answer.user_id for answer in answers} == {"user-0", "user-1", "user-3"}


def test_an_adapter_is_swapped_in_while_serving(bench: Bench, tmp_path: Path) -> None:
    """Announced and served, the version is named by the strategies it wrote, and its log-probabilities are theirs."""
    with bench.worker():
        bench.ask(patient(request_of(1, arm="lm")))
        assert bench.strategies(1)[0].policy.adapter == "base"
    with bench.worker():
        version = bench.publish_adapter(1, tmp_path / "one", seed=3)
        bench.serve(1, champion=version.name)
        answers = bench.answers_until(lambda answer: answer.policy.adapter == version.name, 100)
    lm = tiny_lm()
    adapter.attach(lm)
    adapter.place(lm, "slot_c", adapter.read(bench.registry.fetch(version), adapter.expected(lm)))
    for answer in answers:
        slot = "slot_c" if answer.policy.adapter == version.name else None
        with lm.use_adapter(slot):
            rows = lm.slot_log_probs(lm.encode([answer.request]), [answer.request], [answer.decision])[0]
        lm_rows = [row.detach().numpy() for row in rows]
        again = propensity(answer.request, answer.decision, answer.policy, None, lm_rows)
        assert abs(np.log(again / answer.propensity)) < 1e-4


@pytest.mark.parametrize("fault", ["corrupt", "other_base"])
def test_an_adapter_that_does_not_fit_is_refused_and_serving_goes_on(bench: Bench, tmp_path: Path, fault: str) -> None:
    """Other bytes than announced, or made for another base: counted, the former version stays, what else is said is served."""
    with bench.worker():
        good = bench.publish_adapter(1, tmp_path / "good", seed=3)
        bench.serve(1, champion=good.name)
        bench.answers_until(lambda answer: answer.policy.adapter == good.name, 100)
        before = metrics.ADAPTERS_REFUSED.labels(fault)._value.get()
        foreign = random_lm(8, width=64, layers=2) if fault == "other_base" else None
        bad = bench.publish_adapter(2, tmp_path / "bad", seed=4, lm=foreign)
        if fault == "corrupt":
            file = next((bench.settings.home / "registry" / bad.name).glob("*.safetensors"))
            file.write_bytes(file.read_bytes()[:-64] + b"\0" * 64)
        critic = bench.publish_critic(1, tmp_path / "critic", seed=9)
        bench.serve(2, champion=bad.name, critic=critic.name)
        answers = bench.answers_until_critic(critic.name)
    assert metrics.ADAPTERS_REFUSED.labels(fault)._value.get() == before + 1
    assert {answer.policy.adapter for answer in answers} <= {"base", good.name}
    assert next(a for a in answers if a.policy.critic == critic.name).policy.adapter == good.name


def test_a_critic_snapshot_is_picked_up(bench: Bench, tmp_path: Path) -> None:
    """A worker begins with the critic's prior; what is announced is named by the strategies after it."""
    with bench.worker():
        bench.ask(patient(request_of(1, arm="critic")))
        assert bench.strategies(1)[0].policy.critic == Critic.prior(0, 8, Formula()).version
        version = bench.publish_critic(1, tmp_path / "critic", seed=5)
        bench.serve(1, critic=version.name)
        bench.answers_until_critic(version.name)
    with bench.worker():  # a new worker has read the whole topic before it starts
        bench.ask(patient(request_of(999, arm="critic")))
        count = len(bench.read(STRATEGIES, bool))
        last = {answer.user_id: answer for answer in bench.strategies(count + 1)}["user-999"]
    assert last.policy.critic == version.name
