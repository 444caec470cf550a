"""Answers of one batch: several adapters, kinds and arms together, each as its own versions would decide it alone."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from model import adapter
from model.batch import PromptBatch
from model.critic import Critic
from model.fresh import random_lm
from model.gate_evidence import lm_log_probs
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.memory import Replayed
from model.policy import propensity
from model.prefixes import PrefixCache
from services.metrics import PREFIX_BYTES, PROMPTS, TOKENS
from services.records import Record
from services.worker_answers import Answerer
from services.worker_intake import Ask
from services.worker_serving import Change, Loaded, ServingTable
from streaming.contracts.adapters import Serving
from streaming.contracts.kinds import Arm, Kind
from streaming.contracts.strategies import Strategy, StrategyRequest
from streaming.reward import Formula
from tests.model.sample import request_of

CHAMPION, ANCHOR = "adapter-000003-c", "adapter-000001-a"
ARMS: tuple[Arm, ...] = ("fused", "lm", "critic", "random")
NOWHERE = Record("strategy.requests", 0, 0, b"", b"", 0)


@pytest.fixture
def lm() -> LanguageModel:
    """A tiny base with its slots."""
    model = random_lm(7, width=32, layers=2)
    adapter.attach(model)
    return model


def served(lm: LanguageModel) -> ServingTable:
    """Half of the customers have the champion, half the anchor."""
    table = ServingTable(lm, Critic.prior(1, 4, Formula(), beta=0.05))
    serving = Serving(
        0,
        1,
        CHAMPION,
        ANCHOR,
        canary="",
        critic="",
        salts={"anchor": "s"},
        anchor_share=0.5,
        decided_at=datetime.now(UTC),
    )
    rng = np.random.default_rng(3)
    loaded = []
    for name in (CHAMPION, ANCHOR):
        block = lm.causal.get_input_embeddings().weight.new_tensor(
            0.2 * rng.standard_normal(sum(np.prod(shape) for shape in adapter.expected(lm).shapes.values()))
        )
        loaded.append(Loaded(name, 0.5, block))
    table.apply(Change(serving, tuple(loaded), None, {}))
    return table


def asks(count: int) -> list[Ask]:
    """Requests of every kind and arm."""
    requests = [
        request_of(n, kind=get_args(Kind)[n % 4], candidates=2 + n % 3, arm=ARMS[n // 4 % 4]) for n in range(count)
    ]
    return [Ask(NOWHERE, each, ActionGrid.of(each), f"str_{each.request_id}") for each in requests]


def answerer(lm: LanguageModel, table: ServingTable) -> Answerer:
    """With the worker's temperature."""
    return Answerer(lm, table, temperature=0.4, seed=5)


def test_a_mixed_batch_answers_as_each_request_alone(lm: LanguageModel) -> None:
    """The same decisions with propensities within 1e-5, two adapters and all arms in one batch."""
    table = served(lm)
    together = answerer(lm, table).answer(asks(32))
    alone = [one for ask in asks(32) for one in answerer(lm, table).answer([ask])]
    assert {one.policy.adapter for one in together if one.policy.acting_arm == "fused"} == {CHAMPION, ANCHOR}
    assert [one.strategy_id for one in together] == [ask.strategy_id for ask in asks(32)]
    for one, other in zip(together, alone, strict=True):
        assert one.decision == other.decision
        assert one.policy == other.policy
        assert one.propensity == pytest.approx(other.propensity, rel=1e-5)


def test_the_versions_that_a_strategy_names_give_its_propensity(lm: LanguageModel) -> None:
    """Computed anew, teacher-forced, from the slot that holds the named adapter."""
    table = served(lm)
    strategies = answerer(lm, table).answer(asks(24))
    for one in strategies:
        again = propensity(one.request, one.decision, one.policy, table.critic, _lm_rows(lm, table, one))
        assert again == pytest.approx(one.propensity, rel=1e-4)


def _lm_rows(lm: LanguageModel, table: ServingTable, one: Strategy) -> list[npt.NDArray[np.float64]] | None:
    if not one.policy.lm_weight:
        return None
    item = Replayed(one.strategy_id, 0, one.request, one.decision, one.policy, one.propensity, 0.0, 1)
    [rows] = lm_log_probs(lm, table.slots.slot_of(one.policy.adapter), lm.encode([one.request]), [item])
    return list(rows)


def test_requests_without_a_share_of_the_model_are_not_read_by_it(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arms `critic` and `random` cost no prompt; the others' prompts are encoded once, together."""
    read: list[list[str]] = []
    encode = lm.encode

    def watched(requests: Sequence[StrategyRequest]) -> PromptBatch:
        read.append([request.arm for request in requests])
        return encode(requests)

    monkeypatch.setattr(lm, "encode", watched)
    table = served(lm)
    answers = answerer(lm, table).answer(asks(16))
    assert len(answers) == 16
    assert [sorted(set(arms)) for arms in read] == [["fused", "lm"]]
    answerer(lm, table).answer([ask for ask in asks(16) if ask.request.arm in ("critic", "random")])
    assert len(read) == 1


def test_no_request_holds_a_slot_after_its_answer(lm: LanguageModel) -> None:
    """Also when answering fails: every slot can then be overwritten again."""
    table = served(lm)
    one = answerer(lm, table)
    one.answer(asks(8))
    broken = [Ask(NOWHERE, ask.request, None, ask.strategy_id) for ask in asks(8)]  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        one.answer(broken)
    for slot in table.slots.resident():
        table.slots.fill(slot, f"other-{slot}")


def test_beginnings_that_were_kept_are_counted(lm: LanguageModel) -> None:
    """The third time that requests are asked their whole blocks are not read again: the same answers, and metrics that say so."""
    mine = [ask for ask in asks(8) if ask.request.arm in ("fused", "lm")]
    plain = answerer(lm, served(lm)).answer(mine)
    lm.prefixes = PrefixCache(1 << 26)
    one = answerer(lm, served(lm))
    one.answer(mine)
    one.answer(mine)
    tokens, prompts = TOKENS.labels("prompt_kept"), PROMPTS.labels("yes")
    before = tokens._value.get(), prompts._value.get()
    again = one.answer(mine)
    assert tokens._value.get() - before[0] >= 16 * len(mine)
    assert prompts._value.get() - before[1] == len(mine)
    assert PREFIX_BYTES._value.get() == lm.prefixes.nbytes > 0
    for got, wanted in zip(again, plain, strict=True):
        assert got.decision == wanted.decision
        assert got.propensity == pytest.approx(wanted.propensity, rel=1e-4)
