"""A base that learns to write strategies from logged ones, and is made a base to serve only if it may be. Resumable as every run is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from model.formula import RewardFormula
from model.strategy.examining import Examined, Telling, examined
from model.strategy.saving import CANDIDATE, accept, base_sha256, keep, refuse
from model.strategy.work import NAME, Settings, Work
from model.training.runs import Run, identity_of
from model.training.trackers import tracker
from streaming.contracts.rewards import Reward


def main(
    rewards: Sequence[Reward], formula: RewardFormula, out: Path, settings: Settings, telling: Telling, *,
    origin: dict[str, Any], data_sha256: str, resume: bool, overwrite: bool, track: str = "none", kept: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make the run `out` from closed strategies; returns its report.

    Args:
        rewards: the last word on each strategy, with the probability of what was done.
        formula: how outcomes become reward.
        telling: name of a part → what is told of its progress.
        origin: how the log was read; part of the run's identity and of the report.
        kept: a folder for what is found of the base that ships, the same for every run; None: nothing is kept.

    Raises:
        Refused: log, output, base or a setting cannot be used.
    """
    config = {
        "task": NAME,
        **msgspec.to_builtins(settings),
        "origin": origin,
        "base_sha256": base_sha256(settings.base),
    }
    identity = identity_of(config, data_sha256, settings.seed)
    with Run(out, identity, resume=resume, overwrite=overwrite) as run:
        work = Work(rewards, formula, settings)
        tracked = tracker(track, run.path / "tracker", out.name, config)
        best = work.learn(run, telling(NAME), tracked)
        tracked.end()
        keep(work.lm, run.path / CANDIDATE)
        found = examined(work, run, telling, kept)
        report = _report(work, found, best) | {"origin": origin}
        if found.verdict.go_on:
            accept(run.path, _manifest(report, run))
        else:
            refuse(run.path)
        run.write("report.json", msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=2))
        run.drop(NAME)
        run.publish()
    return report


def _report(work: Work, found: Examined, best: int) -> dict[str, Any]:
    parts = work.parts
    told: dict[str, Any] = msgspec.to_builtins(found)
    counts = {
        "train": len(parts.train),
        "valid": len(parts.valid),
        "judged": len(parts.judged),
        "straddling": parts.straddling,
    }
    weights = {"spreads": work.weighing.spreads, "largest": float(work.weights.max()), "effective": _effective(work)}
    return {"task": NAME, **told, "strategies": counts, "weights": weights, "best_step": best}


def _effective(work: Work) -> float:
    """Kish's effective size of what is learned from: how many strategies of equal weight say as much."""
    weights = work.weights
    return float(weights.sum()) ** 2 / float(weights @ weights)


def _manifest(report: dict[str, Any], run: Run) -> dict[str, Any]:
    """What a base says of itself: where it came from and what it was measured to do."""
    taught = report["teachability"]
    return {
        "made_by": "stratagem finetune --task strategy",
        "run": msgspec.to_builtins(run.identity),
        "teachability": taught,
        "messages_by_model_share": report["composed_words"]["new"]["value"],
        "verdict": report["verdict"],
    }
