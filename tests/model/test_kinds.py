"""A kind is data: what may be declared, how it is asked and written, and what is learned of one that nobody knew."""

from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from model import adapter
from model.critic import Critic, named
from model.distil import Distiller
from model.fresh import random_lm
from model.gate import GateKnobs, judge_adapter
from model.gate_evidence import Contender, joined, measure, parity_gaps
from model.grid import ActionGrid
from model.learner import CriticLearner
from model.learner_state import load_learner, save_learner
from model.lessons import LearnerKnobs
from model.library import answered, ask
from model.memory import Replay
from model.message import finish
from model.policy import Decided, Knobs, decide
from model.texts import TextPool
from streaming.contracts import codec
from streaming.contracts.errors import BadEvent, BadPart
from streaming.contracts.kinds import KIND_NAMES, MAX_ACTIONS, Grammar, Template, kind_label
from streaming.contracts.rewards import Outcomes, Reward
from streaming.contracts.strategies import StrategyRequest, grammar_of
from streaming.reward import Formula
from tests.model.declared import DECLARED, HEADLINE, PAGE, START, declared_request, features
from tests.model.sample import request_of

FORMULA = Formula()
CLOSED = {"closed": {"a": ("x", "y")}}


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"slots": ()}, "slots"),
        ({"slots": ("a", "a"), **CLOSED}, "slots"),
        ({"slots": tuple(f"s{n}" for n in range(17)), "candidate_slots": tuple(f"s{n}" for n in range(17))}, "slots"),
        ({"slots": ("A b",), "candidate_slots": ("A b",)}, "slots"),
        ({"slots": ("a",), "candidate_slots": ("b",), **CLOSED}, "candidate_slots"),
        ({"slots": ("a", "b"), **CLOSED}, "closed"),
        ({"slots": ("a",), "candidate_slots": ("a",), **CLOSED}, "closed"),
        ({"slots": ("a",), "closed": {"a": ()}}, "closed.a"),
        ({"slots": ("a",), "closed": {"a": ("x", "x")}}, "closed.a"),
        ({"slots": ("a",), "closed": {"a": ("x", " \n")}}, "closed.a"),
        ({"slots": ("a",), "closed": {"a": ("x" * 81,)}}, "closed.a"),
        ({"slots": ("discount",), "closed": {"discount": ("5", "half")}}, "closed.discount"),
        ({"slots": ("discount",), "closed": {"discount": ("101",)}}, "closed.discount"),
        ({"slots": ("duration",), "closed": {"duration": ("week",)}}, "closed.duration"),
        ({"slots": ("send_time",), "closed": {"send_time": ("noon",)}}, "closed.send_time"),
        ({"slots": ("a",), **CLOSED, "shown_event": "Order Completed"}, "shown_event"),
        ({"slots": ("a",), **CLOSED, "click_event": "Nodded"}, "click_event"),
        ({"slots": ("a",), **CLOSED, "texts": {"en": Template("{b}", "")}}, "texts.en"),
        ({"slots": ("a",), **CLOSED, "texts": {"en": Template(" ", "{a}")}}, "texts.en"),
    ],
)
def test_a_kind_that_contradicts_itself_is_refused_by_field(parts: dict[str, object], field: str) -> None:
    """What could not be decoded, spelled, priced or written is named when the kind is declared, and on the wire."""
    with pytest.raises(BadPart) as refused:
        Grammar(**parts)  # type: ignore[arg-type]  # a table of parts
    assert refused.value.field == field
    tree = msgspec.json.decode(codec.encode(declared_request("headline")))
    value = msgspec.json.encode(tree | {"grammar": parts})
    with pytest.raises(BadEvent) as letter:
        codec.decode(value, StrategyRequest)
    assert letter.value.field == f"grammar.{field}"


@pytest.mark.parametrize("kind", ["poem", "ad", "Head line", ""])
def test_a_name_means_one_kind(kind: str) -> None:
    """A kind that nobody declared, a declared one under a name that ships, and what is no name: refused as `kind`."""
    if kind == "poem":
        with pytest.raises(BadPart, match="poem"):
            msgspec.structs.replace(request_of(), kind=kind)
        return
    with pytest.raises(BadPart) as refused:
        ask(kind, HEADLINE, "u", features(Random(1)), START)
    assert refused.value.field == "kind"


def test_a_reward_of_another_kind_than_its_request_is_refused_by_field() -> None:
    """On the wire too, with what was wanted."""
    request = declared_request("headline")
    reward = rewarded(request, decided_by(Critic.prior(1, 2, FORMULA), request, 1), clicked=True)
    tree = msgspec.json.decode(codec.encode(reward))
    assert codec.decode(codec.encode(reward), Reward) == reward
    with pytest.raises(BadEvent, match="kind: got page, wanted the request's, headline"):
        codec.decode(msgspec.json.encode(tree | {"kind": "page"}), Reward)
    del tree["request"]["grammar"]
    with pytest.raises(BadEvent) as refused:
        codec.decode(msgspec.json.encode(tree), Reward)
    assert refused.value.field == "request.kind"


def test_declared_kinds_share_one_label() -> None:
    """Whoever declares kinds cannot make time series without bound."""
    assert [kind_label(kind) for kind in (*KIND_NAMES, "headline", "page")] == [*KIND_NAMES, "declared", "declared"]


@pytest.mark.parametrize("name", DECLARED)
def test_declared_requests_cross_the_wire(name: str) -> None:
    """A request brings all that is needed to read it; those of kinds that ship say nothing more than before."""
    request = declared_request(name)
    again = codec.decode(codec.encode(request), StrategyRequest)
    assert again == request
    assert grammar_of(again) == DECLARED[name]
    assert ActionGrid.of(again).count == ActionGrid.of(request).count
    assert b"grammar" not in codec.encode(request_of())


def test_ten_slots_reach_the_bound_and_no_more() -> None:
    """4,096 actions are decided; one candidate more is refused."""
    assert len(PAGE.slots) == 10
    assert ActionGrid.of(declared_request("page", candidates=4)).count == MAX_ACTIONS
    with pytest.raises(BadEvent, match="1 to 4096 allowed actions"):
        ActionGrid.of(declared_request("page", candidates=5))


def test_a_declared_kind_brings_its_text() -> None:
    """In the request's language; the language model is not asked for words that it never read."""
    request = declared_request("headline")
    message, checks = finish("anything | at all", request, {"headline": "Last call"})
    assert (message.title, message.body, message.source, checks) == ("Last call", "Have a look.", "template", ())
    chinese = msgspec.structs.replace(request, language="zh")
    assert finish("", chinese, {"headline": "Last call"})[0].body == "请看。"
    pool = TextPool(random_lm(1, width=32, layers=1))
    assert pool.texts([request], [{"headline": "Last call"}], 20, np.random.default_rng(1)) == [""]


def test_a_kind_without_a_text_names_its_values() -> None:
    """Candidates by their names, everything without what could harm."""
    request = declared_request("pair")
    first, second, *_ = request.candidates
    evil = msgspec.structs.replace(first, name="<b>{side}\u202e</b>\n")
    request = msgspec.structs.replace(request, candidates=(evil, *request.candidates[1:]))
    message, _ = finish("", request, {"main": first.id, "side": second.id, "channel": "email"})
    assert (message.title, message.body) == ("‹b›{side} ‹/b›", f"{second.name}, email")


def test_a_closed_value_is_no_candidate_of_that_name() -> None:
    """A stranger's product id cannot take the place of a channel in the critic's eyes."""
    request = request_of(candidates=2)
    critic = Critic.prior(3, 2, FORMULA)
    renamed = msgspec.structs.replace(request.candidates[0], id="email")
    slots = (msgspec.structs.replace(request.slots[0], values=("email", request.candidates[1].id)), *request.slots[1:])
    changed = msgspec.structs.replace(request, candidates=(renamed, request.candidates[1]), slots=slots)
    of_channel = [critic.values(r)[1][1] for r in (request, changed)]  # the second candidate, whose id stayed
    np.testing.assert_allclose(of_channel[0], of_channel[1], rtol=1e-12)


def rewarded(request: StrategyRequest, said: Decided, *, clicked: bool) -> Reward:
    """What a click is worth, and nothing else happened."""
    outcomes = Outcomes("USD", shown=True, clicked=clicked)
    parts = FORMULA.of_outcomes(said.decision, request.kind, "final", outcomes)
    return answered(request, said, outcomes, parts)


def decided_by(critic: Critic, request: StrategyRequest, seed: int) -> Decided:
    """The critic alone."""
    knobs = Knobs("none", "none", 1.0, 0.0)
    return decide([request], [ActionGrid.of(request)], critic, None, [np.random.default_rng(seed)], knobs)[0]


def tastes(request: StrategyRequest) -> np.ndarray:
    """The true chance of a click of every action, (*grid.shape): what a customer likes follows from their lifecycle."""
    lifecycle = ("new", "active", "dormant").index(request.features.categories["lifecycle"])
    logits = np.full([len(slot.values) for slot in request.slots], -1.0)
    for axis, slot in enumerate(request.slots):
        liked = (lifecycle + axis) % min(len(slot.values), 3)
        bonus = np.zeros(len(slot.values))
        bonus[liked] = 3.0 if len(request.slots) == 1 else 1.0
        logits = logits + bonus.reshape([-1 if i == axis else 1 for i in range(logits.ndim)]) - 0.4 * (axis > 0)
    chances: np.ndarray = 1.0 / (1.0 + np.exp(-logits))
    return chances


class Loop(NamedTuple):
    """What a loop of decide → reward → learn left."""

    learner: CriticLearner
    replay: Replay
    critic: Critic
    lifts: list[float]
    """Per decision (its true chance - random) / (best - random)."""


def play(name: str, count: int) -> Loop:
    """Decide, reward, learn: the critic alone, everything else as the updater does it."""
    learner, replay, lifts = CriticLearner(LearnerKnobs(heads=4), FORMULA), Replay(1000), []
    critic = named(learner.snapshot(), 0)
    for number in range(count):
        request = declared_request(name, number)
        said = decided_by(critic, request, number)
        chances, allowed = tastes(request), ActionGrid.of(request).allowed
        mean, best = chances[allowed].mean(), chances[allowed].max()
        lifts.append(float((chances[said.index] - mean) / (best - mean)))
        reward = rewarded(request, said, clicked=Random(number).random() < chances[said.index])
        lesson = learner.learn(reward)
        replay.learn(reward, learner.learned)
        if lesson.refitted:
            critic = named(learner.snapshot(), number)
    return Loop(learner, replay, critic, lifts)


@pytest.fixture(scope="module", params=["headline", "page"])
def loop(request: pytest.FixtureRequest) -> Loop:
    """One slot and ten."""
    return play(request.param, 700)


def test_the_critic_of_a_declared_kind_improves_over_random(loop: Loop) -> None:
    """Nobody told it of the kind: from a lift of nothing it comes to most of what there is."""
    assert np.mean(loop.lifts[-150:]) > 0.5
    assert np.mean(loop.lifts[-150:]) > np.mean(loop.lifts[:50]) + 0.2


def test_a_learner_of_declared_kinds_is_restored_exactly(loop: Loop, tmp_path: Path) -> None:
    """Kinds that do not ship are in the snapshot: what comes next is learned as if nothing had happened."""
    save_learner(loop.learner, tmp_path)
    again = load_learner(tmp_path, loop.learner.knobs, FORMULA)
    (kind,) = {item.request.kind for item in loop.replay}
    assert again.kinds[kind].tick == loop.learner.kinds[kind].tick > 0.0
    assert again.units() == loop.learner.units()
    assert named(again.snapshot(), 7).version == named(loop.learner.snapshot(), 7).version


def test_a_language_model_learns_a_declared_kind(loop: Loop) -> None:
    """LoRA steps bring a base that never read the kind to its critic, and the gate has its evidence on it."""
    lm = random_lm(5, width=32, layers=2)
    adapter.attach(lm, (adapter.TRAINING_SLOT,))
    items = list(loop.replay)[-6:]
    distiller = Distiller(lm)
    losses = [distiller.step(items, loop.critic) for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]
    knobs = Knobs("small", "adapter-000001-abcd", 0.4, 0.5)
    ours, theirs = Contender(lm, adapter.TRAINING_SLOT, knobs), Contender(lm, None, knobs)
    parity = parity_gaps(lm, items, lambda _: None, {loop.critic.version: loop.critic})
    evidence = joined([measure(lm, ours, theirs, loop.critic, items, [])], parity)
    assert evidence.valid == evidence.sampled == 2 * len(items)
    assert max(evidence.kl_nats) > 0.01
    judgement = judge_adapter(evidence, GateKnobs(min_value_rows=5, delta=1.0, kl_cap_nats=100.0))
    assert {check.name: check.passed for check in judgement.checks}["value"]


@pytest.mark.parametrize("name", DECLARED)
def test_what_a_language_model_and_a_critic_decided_is_recomputed(name: str) -> None:
    """Served step by step in one batch with kinds that ship, recomputed teacher-forced: within 1e-4 (law 2)."""
    lm, critic = random_lm(3, width=32, layers=2), Critic.prior(2, 4, FORMULA, beta=0.05)
    requests = [declared_request(name, seed) for seed in range(3)] + [request_of(9, candidates=2)]
    knobs = Knobs("small", "base", 0.4, 0.3)
    grids = [ActionGrid.of(request) for request in requests]
    session = lm.session(lm.encode(requests), requests)
    said = decide(requests, grids, critic, session, [np.random.default_rng(n) for n in range(4)], knobs)
    replay = Replay(10)
    for number, (request, one) in enumerate(zip(requests, said, strict=True)):
        replay.learn(rewarded(request, one, clicked=False), number)
    gaps = parity_gaps(lm, list(replay), lambda _: None, {critic.version: critic})
    assert len(gaps) == 4
    assert max(map(abs, gaps)) < 1e-4
