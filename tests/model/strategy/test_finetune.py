"""A base learned from logged strategies: it turns to what paid, stays teachable or is refused, and only what is accepted can be served."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from model import adapter
from model.base_gate import trial
from model.critic import Critic
from model.data.errors import Refused
from model.evaluation.policies import valuable
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.policy import decide
from model.strategy.finetune import main
from model.strategy.lessons import log_likelihoods
from model.strategy.teachability import Examination, compared
from model.strategy.trying import Tried
from model.strategy.work import Settings, Work
from model.training.runs import Run, identity_of
from services.worker_serving import ServingTable
from streaming.contracts.kinds import KIND_NAMES
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest
from streaming.reward import Formula
from tests.model.composed import bytes_lm
from tests.model.evaluation.samples import logged

QUICK = {"prompts": 4, "suffixes": 3, "messages": 4, "judged": 96, "critics": 3, "lora_steps": 8, "customers": 64}  # fmt: skip
CAREFUL = Settings(steps=24, rate=2e-4, most_weight=4.0, **QUICK)  # type: ignore[arg-type]  # sizes are whole numbers
CARELESS = Settings(steps=24, rate=2e-2, teacher_weight=0.0, message_weight=0.0, **QUICK)  # type: ignore[arg-type]  # the same


@lru_cache(maxsize=1)
def closed() -> tuple[Reward, ...]:
    """Contacted strategies of the simulated shop."""
    return tuple(reward for reward in logged(500).rewards if valuable(reward))


def told(_: str) -> Any:
    """Nobody listens."""
    return lambda *_: None


def finetuned(out: Path, settings: Settings, kept: Path | None = None) -> dict[str, Any]:
    """The run `out`."""
    how: dict[str, Any] = {"origin": {}, "data_sha256": "d", "resume": True, "overwrite": False, "kept": kept}
    return main(closed(), Formula(), out, settings, told, **how)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what the shipped base came to is kept: runs with the same examination need it once."""
    return tmp_path_factory.mktemp("examined")


def test_an_accepted_base_is_served(tmp_path: Path, kept: Path) -> None:
    """What went well is more likely than before, the base is as teachable as the one that ships, and a worker's table serves it."""
    report = finetuned(tmp_path / "run", CAREFUL, kept)
    assert report["verdict"]["go_on"], report["verdict"]["says"]
    assert report["held"]["likelihood"]["gain"]["low"] > 0.0
    assert len(report["teachability"]["by_critic"]) == 3
    assert not list((tmp_path / "run").rglob("*refused*"))
    lm = LanguageModel.load(str(tmp_path / "run" / "base"), "cpu")
    shipped = LanguageModel.load("", "cpu")
    assert lm.base_sha256 != shipped.base_sha256
    assert lm.pointer.point.any()
    adapter.attach(lm)
    table = ServingTable(lm, Critic.prior(0, 8, Formula()))
    requests = [msgspec.structs.replace(reward.request, arm="lm") for reward in closed()[:6]]
    grids = [ActionGrid.of(request) for request in requests]
    slot = table.slots.admit(table.champion)
    with lm.use_adapter(slot):
        session = lm.session(lm.encode(requests), requests)
        rngs = [np.random.default_rng(place) for place in range(6)]
        decided = decide(requests, grids, table.critic, session, rngs, table.knobs(table.champion, 0.4))
        assert all(grid.allowed[one.index] for grid, one in zip(grids, decided, strict=True))
        assert all(session.write(48, np.random.default_rng(0)))
    manifest = msgspec.json.decode((tmp_path / "run" / "base" / "manifest.json").read_bytes())
    assert set(manifest["files_sha256"]) >= {"model.safetensors", "pointer.safetensors", "tokenizer.json"}
    assert manifest["verdict"]["go_on"]


def test_a_base_that_was_overfitted_without_teachers_is_refused(tmp_path: Path, kept: Path) -> None:
    """It is told why, and nothing that is left of it can be loaded as a base."""
    report = finetuned(tmp_path / "run", CARELESS, kept)
    assert not report["verdict"]["go_on"]
    assert "below that of the base that ships: lift" in report["verdict"]["says"]
    assert report["teachability"]["difference"]["value"] < -0.05
    assert (tmp_path / "run" / "refused.safetensors").is_file()
    for folder in ("run", "run/base", "run/candidate"):
        with pytest.raises((OSError, ValueError)):
            LanguageModel.load(str(tmp_path / folder), "cpu")
    assert not list((tmp_path / "run").rglob("config.json"))


def paying(value: str) -> tuple[Reward, ...]:
    """The same log, where the tone `value` paid and nothing else did."""
    return tuple(
        msgspec.structs.replace(reward, reward=1.0 if reward.decision.get("tone") == value else 0.0)
        for reward in closed()
    )


def tone_share(work: Work, value: str, requests: list[StrategyRequest]) -> float:
    """Mean probability of a tone, the rest of the decision as it was logged."""
    found = []
    for reward in work.parts.judged:
        tones = dict(zip([slot.name for slot in reward.request.slots], reward.request.slots, strict=True)).get("tone")
        if tones is None or value not in tones.values:
            continue
        others = [msgspec.structs.replace(reward, decision=reward.decision | {"tone": each}) for each in tones.values]
        logs = log_likelihoods(work.lm, others)
        found.append(float(np.exp(logs[tones.values.index(value)] - np.logaddexp.reduce(logs))))
        requests.append(reward.request)
    return float(np.mean(found))


@pytest.mark.parametrize("value", ["friendly", "urgent"])
def test_what_paid_becomes_likelier(tmp_path: Path, value: str) -> None:
    """From one log with two tales of what paid, the base learns each; the tale alone differs."""
    settings = msgspec.structs.replace(CAREFUL, steps=20, rate=2e-3, teacher_weight=0.0, message_weight=0.0, beta=0.25)
    work, used = Work(paying(value), Formula(), settings), []  # type: ignore[var-annotated]  # filled below
    work.learner.eval()
    before = tone_share(work, value, used)
    with Run(tmp_path / "run", identity_of({}, "d", 0)) as run:
        work.learn(run, told(""), _Nowhere())
    after = tone_share(work, value, used)
    assert used
    assert after > before + 0.2, (before, after)


class _Nowhere:
    """No tracker."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


def trial_of(lift: float, *, permuted: float = 1.0) -> Tried:
    """A distillation that reached a lift."""
    return Tried({"100": lift}, 0.1, permuted=permuted, swapped=-0.1, unseen=1.0)


def test_a_critic_comes_to_what_the_gates_trial_says() -> None:
    """Reading held-out prompts once changes no digit: lifts, KL and the three measures of reading are those of `model/base_gate.py`."""
    exam = Examination(2, 8, 64, 80)
    found = exam.one(LanguageModel.load("", "cpu"), 0, told(""))
    lm = LanguageModel.load("", "cpu")
    wanted = trial(lm, 0, kind=KIND_NAMES[0], marks=exam.marks, train=exam.train, test=exam.test)
    assert found.greedy == {step: taught.greedy for step, taught in wanted.after.items()}
    assert len(found.greedy) == 3
    assert (found.kl, found.permuted, found.swapped, found.unseen) == (wanted.kl, wanted.permuted, wanted.swapped, wanted.unseen)  # fmt: skip


def test_what_the_shipped_base_came_to_is_found_once(tmp_path: Path) -> None:
    """A second run takes it from the folder of the first and reports the same; what is broken there is found anew."""
    settings = msgspec.structs.replace(CAREFUL, steps=1, judged=20, critics=2, lora_steps=4, customers=16)
    first = finetuned(tmp_path / "first", settings, kept=tmp_path / "kept")
    files = sorted((tmp_path / "kept").rglob("*.json"))
    assert [path.name for path in files] == ["0.json", "1.json"]
    better = msgspec.json.decode(files[1].read_bytes(), type=Tried)
    files[0].write_bytes(b"{")
    files[1].write_bytes(msgspec.json.encode(msgspec.structs.replace(better, greedy={"4": 9.0})))
    second = finetuned(tmp_path / "second", settings, kept=tmp_path / "kept")
    lifts, again = (report["teachability"]["by_critic"] for report in (first, second))
    assert again[0] == lifts[0]
    assert tuple(again[1]) == (lifts[1][0], 9.0)
    assert sorted((tmp_path / "kept").rglob("*")) == sorted([files[0].parent, *files])
    assert msgspec.json.decode(files[0].read_bytes(), type=Tried).greedy


def test_a_base_goes_part_of_the_way(tmp_path: Path) -> None:
    """A share of the way from where it began to what was learned, weight by weight; one that never met the teachers goes all of it."""
    settings = msgspec.structs.replace(CAREFUL, steps=2, rate=2e-3, judged=20)
    ways = []
    for share in (1.0, 0.25):
        work = Work(closed()[:150], Formula(), msgspec.structs.replace(settings, share=share))
        begun = {name: weights.detach().clone() for name, weights in work.learner.named_parameters()}
        with Run(tmp_path / f"run-{share}", identity_of({}, "d", 0)) as run:
            work.learn(run, told(""), _Nowhere())
        ways.append({name: weights.detach() - begun[name] for name, weights in work.learner.named_parameters()})
    whole, part = ways
    assert max(float(way.abs().max()) for way in whole.values()) > 1e-3
    assert all(torch.allclose(part[name], 0.25 * whole[name], atol=1e-6) for name in whole)


def test_teachability_is_compared_critic_by_critic() -> None:
    """Clearly below, or a loss that the critics do not rule out: refused; as good or better: not."""
    shipped = [trial_of(lift) for lift in (0.7, 0.8, 0.9, 0.95)]
    assert compared([trial_of(lift) for lift in (0.71, 0.8, 0.9, 0.96)], shipped).not_below
    assert not compared([trial_of(0.9)] * 4, [trial_of(lift) for lift in (0.8, 0.9, 1.0, 0.97)]).not_below
    below = compared([trial_of(lift) for lift in (0.69, 0.79, 0.889, 0.94)], shipped)
    assert not below.not_below
    assert -0.02 < below.difference.low < below.difference.high < 0.0
    assert not compared([trial_of(lift) for lift in (0.5, 0.99, 0.9, 0.95)], shipped).not_below
    assert not compared([trial_of(0.9, permuted=0.5)] * 4, shipped).reads


def test_any_causal_checkpoint_can_begin(tmp_path: Path) -> None:
    """A GPT-2 that has never met a teacher learns their names; an encoder, and a folder without a model, are refused by name."""
    lm = bytes_lm()
    lm.causal.save_pretrained(tmp_path / "gpt2")
    lm.spelling.tokenizer.save_pretrained(tmp_path / "gpt2")
    settings = msgspec.structs.replace(CAREFUL, steps=1, batch=2, prompts=2, base=str(tmp_path / "gpt2"))
    work = Work(closed(), Formula(), settings)
    assert "<t0>" in work.lm.spelling.tokenizer.get_vocab()
    assert work.lm.pointer.point.any()
    assert work.share == 1.0
    with Run(tmp_path / "run", identity_of({}, "d", 0)) as run:
        assert work.learn(run, told(""), _Nowhere()) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="cannot be loaded for causal"):
        finetuned(tmp_path / "none", msgspec.structs.replace(CAREFUL, base=str(tmp_path / "empty")))
    assert not list(tmp_path.glob(".none*"))
