"""The gate: what passes, what is refused and with which numbers; measured with a real model on real requests."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from msgspec import structs

from model import adapter, gate_evidence
from model.critic import Critic, HasShape, named
from model.fresh import random_lm
from model.gate import Evidence, GateKnobs, OffPolicy, doubly_robust, judge_adapter, parity_bound
from model.gate_case import cases_of
from model.gate_critic import bounded, examine_critic
from model.gate_evidence import Contender, joined, measure, parity_gaps
from model.grid import ActionGrid
from model.learner import CriticLearner
from model.lessons import LearnerKnobs
from model.lm import LanguageModel
from model.memory import Replayed
from model.policy import Knobs, decide
from streaming.contracts.strategies import StrategyRequest
from streaming.reward import Formula
from tests.model.closed import closed_rewards
from tests.model.sample import request_of

KNOBS = GateKnobs()
CHAMPION = OffPolicy((1.0,) * 40, (0.2,) * 40, (0.2,) * 40)


def worth(differences: tuple[float, ...], weight: float = 1.0) -> OffPolicy:
    """A candidate that differs so from the champion."""
    robust = tuple(0.2 + difference for difference in differences)
    return OffPolicy((weight,) * len(robust), (0.2,) * len(robust), robust)


SOUND = Evidence(
    parity=(1e-6,) * 5,
    valid=20,
    sampled=20,
    kl_nats=(0.1,) * 5,
    entropy_nats=(0.5,) * 5,
    candidate=worth((0.01, -0.01) * 20),
    champion=CHAMPION,
)


def failed(evidence: Evidence) -> list[str]:
    """Names of the checks that did not pass."""
    judgement = judge_adapter(evidence, KNOBS)
    names = [check.name for check in judgement.checks if not check.passed]
    assert (judgement.decision == "refused") == bool(names)
    return names


def test_a_sound_candidate_is_promoted() -> None:
    """Every check passes and says its numbers."""
    judgement = judge_adapter(SOUND, KNOBS)
    assert judgement.decision == "promoted"
    assert all(check.detail for check in judgement.checks)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"parity": (0.0, 2e-4)}, "parity"),
        ({"parity": ()}, "parity"),
        ({"valid": 19}, "decisions"),
        ({"sampled": 0, "valid": 0}, "decisions"),
        ({"kl_nats": (3.0, 2.0)}, "kl"),
        ({"entropy_nats": (0.0, 0.0)}, "entropy"),
        ({"candidate": worth((-0.1, -0.12) * 20)}, "value"),
    ],
)
def test_each_fault_is_refused_by_its_own_check(change: dict[str, object], name: str) -> None:
    """One fault, one failed check, named in the reason."""
    assert failed(structs.replace(SOUND, **change)) == [name]
    assert judge_adapter(structs.replace(SOUND, **change), KNOBS).reason.startswith(name)


def test_the_bound_of_parity_is_that_of_the_precision_served() -> None:
    """Law 2: 1e-4 in float32, 2 % in bf16; a gap between the two passes there and not here."""
    assert parity_bound("torch.float32") == 1e-4
    assert parity_bound("torch.bfloat16") == parity_bound("torch.float16") == 2e-2
    off = structs.replace(SOUND, parity=(0.01,))
    assert judge_adapter(off, GateKnobs(parity=parity_bound("torch.bfloat16"))).decision == "promoted"
    assert judge_adapter(off, GateKnobs(parity=parity_bound("torch.float32"))).decision == "refused"


def test_nothing_to_judge_parity_by_is_said() -> None:
    """Without a served decision at hand the record says so, and the candidate does not pass."""
    assert judge_adapter(structs.replace(SOUND, parity=()), KNOBS).reason == "parity: not judged, 0 rows"


FEW = structs.replace(SOUND, candidate=worth((-1.0,) * 3), champion=OffPolicy((1.0,) * 3, (0.2,) * 3, (0.2,) * 3))
ONE_DECIDES = structs.replace(SOUND, candidate=OffPolicy((50.0, *(0.0,) * 39), (0.2,) * 40, (0.4,) * 40))


@pytest.mark.parametrize(
    ("evidence", "said"), [(FEW, "3 newer closed rewards"), (ONE_DECIDES, "sample size 1.0, 5 wanted")]
)
def test_without_enough_to_be_valued_by_a_refresh_passes_and_a_change_does_not(evidence: Evidence, said: str) -> None:
    """A handful of rewards, or one that outweighs all: nothing is judged by it, which is said, and refused for a change."""
    refresh = judge_adapter(evidence, KNOBS)
    value = next(check for check in refresh.checks if check.name == "value")
    assert (refresh.decision, value.passed) == ("promoted", True)
    assert value.detail.startswith("not judged")
    assert said in value.detail
    change = judge_adapter(evidence, GateKnobs(value_wanted=True))
    assert (change.decision, change.reason) == ("refused", f"value: {value.detail}")


def test_values_off_policy_by_hand() -> None:
    """Inverse propensity, self-normalised and Kish's effective sample size, as reckoned on paper."""
    told = OffPolicy((2.0, 1.0, 0.0, 0.5), (1.0, 3.0, 5.0, 0.0), (1.0, 2.0, 3.0, 2.0)).numbers("candidate")
    assert told["candidate_ips"] == pytest.approx(5.0 / 4)
    assert told["candidate_snips"] == pytest.approx(5.0 / 3.5)
    assert told["candidate_dr"] == pytest.approx(2.0)
    assert told["candidate_effective"] == pytest.approx(12.25 / 5.25)
    assert set(OffPolicy().numbers("none").values()) == {0.0}
    numbers = judge_adapter(SOUND, KNOBS).numbers
    assert numbers["champion_effective"] == pytest.approx(40.0)
    assert numbers["candidate_dr"] == pytest.approx(0.2)


def test_doubly_robust_by_hand() -> None:
    """1 + 0.5 * (3 - 2) = 1.5; a ratio of 1000 is cut to 50: 0 + 50 * (1 - 0) = 50."""
    found = doubly_robust(np.array([1.0, 0.0]), np.array([0.5, 1000.0]), np.array([3.0, 1.0]), np.array([2.0, 0.0]))
    assert found.tolist() == [1.5, 50.0]


def tiny() -> LanguageModel:
    """A base with two slots; the first is drawn, the second the identity."""
    lm = random_lm(2, width=32, layers=2)
    adapter.attach(lm, ("slot_x", "slot_y"))
    generator = torch.Generator().manual_seed(1)
    shapes = adapter.expected(lm, "slot_x").shapes
    adapter.place(lm, "slot_x", {key: 0.2 * torch.randn(shape, generator=generator) for key, shape in shapes.items()})
    return lm


def served(lm: LanguageModel, critic: Critic, count: int, version: str, slot: str | None) -> list[Replayed]:
    """Decisions as a worker serves and logs them."""
    requests = [request_of(seed, candidates=3) for seed in range(count)]
    knobs = Knobs("base", version, 0.4, 0.3)
    rngs = [np.random.default_rng(seed) for seed in range(count)]
    with lm.use_adapter(slot):
        session = lm.session(lm.encode(requests), requests)
        decided = decide(requests, [ActionGrid.of(request) for request in requests], critic, session, rngs, knobs)
    return [
        Replayed(f"s{n}", n, request, one.decision, one.record, one.propensity, 0.1 * n, 1)
        for n, (request, one) in enumerate(zip(requests, decided, strict=True))
    ]


def test_parity_reproduces_what_was_served_and_nothing_else() -> None:
    """With the version that served it the log-probability comes back; with another it does not; unknown ones are left out."""
    lm, critic = tiny(), Critic.prior(1, 3, Formula())
    items = served(lm, critic, 6, "adapter-000001-00000000", "slot_x")
    critics = {critic.version: critic}
    nothing: dict[str, str | None] = {}
    right = parity_gaps(lm, items, {"adapter-000001-00000000": "slot_x"}.__getitem__, critics)
    wrong = parity_gaps(lm, items, {"adapter-000001-00000000": "slot_y"}.__getitem__, critics)
    assert len(right) == len(wrong) == 6
    assert max(map(abs, right)) < 1e-4
    assert max(map(abs, wrong)) > 1e-2
    assert parity_gaps(lm, items, nothing.__getitem__, critics) == ()
    assert parity_gaps(lm, items, {"adapter-000001-00000000": "slot_x"}.__getitem__, {}) == ()


def test_a_record_that_contradicts_its_versions_is_not_reproduced() -> None:
    """Other heads than the critic has, or no temperature: an infinite gap, not a crash."""
    lm, critic = tiny(), Critic.prior(1, 3, Formula())
    items = served(lm, critic, 2, "base", None)
    heads, cold = (structs.replace(items[0].policy, **{name: 0}) for name in ("heads", "temperature"))
    wrong = [items[0]._replace(policy=heads), items[1]._replace(policy=cold)]
    assert parity_gaps(lm, wrong, lambda _: None, {critic.version: critic}) == (np.inf, np.inf)


def test_a_candidate_equal_to_the_champion_differs_in_nothing() -> None:
    """Paired measurement: KL and value difference are exactly zero, every sampled decision is allowed."""
    lm, critic = tiny(), Critic.prior(1, 3, Formula())
    items = served(lm, critic, 6, "base", None)
    knobs = Knobs("base", "x", 0.4, 0.3)
    parts = [
        measure(lm, Contender(lm, "slot_x", knobs), Contender(lm, "slot_x", knobs), critic, items[a : a + 3], [])
        for a in (0, 3)
    ]
    evidence = joined(parts, ())
    assert evidence.valid == evidence.sampled == 12
    assert max(map(abs, evidence.kl_nats)) < 1e-9
    assert max(map(abs, evidence.differences)) < 1e-9
    assert len(evidence.differences) == 6


def test_another_adapter_has_a_distance() -> None:
    """The KL of the served distribution sees it, and is not negative."""
    lm, critic = tiny(), Critic.prior(1, 3, Formula())
    items = served(lm, critic, 4, "base", None)
    knobs = Knobs("base", "x", 0.4, 0.5)
    evidence = measure(lm, Contender(lm, "slot_x", knobs), Contender(lm, "slot_y", knobs), critic, [], items)
    assert min(evidence.kl_nats) > 0.0
    assert evidence.differences == ()


def test_a_request_is_valued_once_in_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its id, however often both contenders ask; what is found is the same as when each asks the critic."""
    lm, critic = tiny(), Critic.prior(1, 3, Formula())
    items = served(lm, critic, 4, "base", None)
    ours, theirs = (Contender(lm, slot, Knobs("base", slot, 0.4, 0.5)) for slot in ("slot_x", "slot_y"))
    asked: list[str] = []
    value = Critic.values

    def counted(self: Critic, request: StrategyRequest, grid: HasShape | None = None) -> npt.NDArray[np.float64]:
        asked.append(request.request_id)
        return value(self, request, grid)

    monkeypatch.setattr(Critic, "values", counted)
    once = measure(lm, ours, theirs, critic, items[:3], items[3:])
    assert sorted(asked) == sorted(item.request.request_id for item in items)
    monkeypatch.setattr(gate_evidence, "_Once", lambda each: each)
    assert measure(lm, ours, theirs, critic, items[:3], items[3:]) == once
    assert len(asked) > 20


def test_draws_of_one_session_are_those_of_each_request_alone() -> None:
    """Both contenders, every draw: the same decisions and propensities as of a session of its own, whatever else is in it."""
    lm, critic = tiny(), Critic.prior(1, 3, Formula())
    items = served(lm, critic, 5, "base", None)
    contenders = [Contender(lm, slot, Knobs("base", str(slot), 0.4, 0.5)) for slot in ("slot_x", None)]
    cases = cases_of(items, critic)
    asked = list(zip(contenders, (cases, cases[:3]), strict=True))
    together = gate_evidence._sampled(lm, lm.encode([item.request for item in items]), asked, critic)
    assert [[len(draw) for draw in draws] for draws in together] == [
        [5] * gate_evidence.DRAWS,
        [3] * gate_evidence.DRAWS,
    ]
    for (contender, own), draws in zip(asked, together, strict=True):
        for place, case in enumerate(own):
            [alone] = gate_evidence._sampled(lm, lm.encode([case.item.request]), [(contender, [case])], critic)
            for draw, [one] in enumerate(alone):
                assert draws[draw][place].decision == one.decision
                assert np.log(draws[draw][place].propensity) == pytest.approx(np.log(one.propensity), abs=1e-4)


def snapshots() -> tuple[CriticLearner, Critic]:
    """A taught learner and its snapshot."""
    learner = CriticLearner(LearnerKnobs(heads=2), Formula())
    for reward in closed_rewards(300):
        learner.learn(reward)
    return learner, named(learner.snapshot(), 1)


def test_a_critic_that_learned_passes_its_small_gate() -> None:
    """Against the prior: better on the last rewards, calibrated, a bounded step."""
    learner, critic = snapshots()
    requests = [reward.request for reward in closed_rewards(300)[-3:]]
    prior = Critic.prior(0, 2, Formula())
    knobs = structs.replace(KNOBS, critic_step_cap=1.0)
    critic, share = bounded(critic, prior, requests, knobs.critic_step_cap)
    assert share < 1.0  # from nothing it is a large step: part of the way
    judgement = examine_critic(critic, prior, list(learner.window)[-200:], requests, knobs)
    assert judgement.decision == "promoted", judgement.reason
    assert judgement.numbers["shown_loss_gap"] < 0.0


def test_a_large_step_is_taken_in_parts_that_arrive() -> None:
    """Each part keeps under the cap; some of them reach the candidate itself."""
    _, critic = snapshots()
    requests = [reward.request for reward in closed_rewards(300)[-3:]]
    at, parts = Critic.prior(0, 2, Formula()), 0
    share = 0.0
    while share < 1.0 and parts < 20:
        step, share = bounded(critic, at, requests, 1.0)
        assert bounded(step, at, requests, 1.0)[1] == 1.0
        at, parts = step, parts + 1
    assert at is critic
    assert parts > 1


@pytest.mark.parametrize("fault", ["not finite", "inverted"])
def test_a_spoiled_critic_is_refused(fault: str) -> None:
    """Not finite, or worse on the last closed rewards than its predecessor."""
    learner, critic = snapshots()
    weights = {name: rows.copy() for name, rows in critic.weights.items()}
    if fault == "not finite":
        weights["clicked"][0, 3] = np.inf
    else:
        weights["shown"] = -4.0 * weights["shown"]
        weights["clicked"] = -4.0 * weights["clicked"]
    spoiled = named(Critic("", weights, critic.facts, critic.formula), 2)
    requests = [reward.request for reward in closed_rewards(300)[-3:]]
    judgement = examine_critic(spoiled, critic, list(learner.window)[-200:], requests, KNOBS)
    assert judgement.decision == "refused"
