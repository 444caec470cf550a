"""How often canaries and anchors are decided wrongly, and after how many customers rightly; beside tests that are peeked at.

Simulated customers who come back (`benchmarks/returning.py`), each trial looked at after every customer, by the product's own
functions (`model/sequential.py`, `model/rollout.py`). One line per scenario: shares of runs with their Wilson 95 % interval.

Usage: python -m benchmarks.sequential --runs 1000 --json --keep /tmp/sequential
"""

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.peeked import ever, welch_path
from benchmarks.returning import Habits, lives, quality_of
from benchmarks.telling import say
from model.betting import Design, restarts
from model.rollout import TrialKnobs, judge_anchor, judge_canary, spent
from model.sequential import ABOVE, BELOW, Evidence, begin, follow
from streaming.contracts.ids import stable_seed

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Look = tuple[int, float]
"""A side and a candidate: capital that decides something."""

HABITS = Habits()
LOW, HIGH = -1.0, 8.0
"""Sums per customer are clipped here, units of reward: .7 % of the customers of `Habits()` earn more."""
DELTA = 0.04
"""Units of reward per customer, of whom each earns .35 on average."""
BLOCK = 2_000
WIDE = 0.16
"""A delta with which 10,000 customers suffice to renew an anchor: for what is carried over renewals."""
REFRESH_LOSS = 0.01
"""Of the first anchor's mean, by each refresh of a slide, one per `BLOCK` customers: a twelfth of `DELTA`."""
TOLD_EVERY = 100
"""Runs between two words on how far it is."""
ONE_LOOK = 1.6448536269514722
"""The 95 % quantile of the normal distribution: one-sided, as the sequential bounds are."""


class Ended(NamedTuple):
    """A run's end: the last trial's decision, customers of all trials, the line's loss then, anchors renewed."""

    decision: str
    customers: int
    loss: float = 0.0
    renewals: int = 0


class Line(NamedTuple):
    """How a line is watched: what it may lose, what of it is gone at the beginning, and whether renewals are charged."""

    delta: float = DELTA
    carried: float = 0.0
    carry: bool = True


LINE = Line()


def canary(rng: np.random.Generator, share: float, loss: float, most: int) -> Ended:
    """One canary whose mean reward is smaller by a share of itself."""
    knobs = TrialKnobs(delta=DELTA, max_customers=most)
    evidence = begin(Design(share, LOW, HIGH, (-DELTA, 0.0)))
    looks = [(BELOW, 0.0), (ABOVE, 0.0)]
    while True:
        treated = rng.random(BLOCK) < share
        totals = lives(rng, np.where(treated, quality_of(loss, HABITS), 1.0), HABITS).totals
        evidence = until(evidence, treated, totals, looks, knobs.alpha, knobs.min_customers)
        verdict = judge_canary(evidence, knobs, 0.0)
        if verdict.decision != "go_on":
            return Ended(verdict.decision, evidence.customers)


def anchor(rng: np.random.Generator, share: float, lost: Callable[[int], float], most: int, line: Line = LINE) -> Ended:
    """One line of refreshes beside its anchors, trial after trial, until it is rolled back or the customers are over.

    Args:
        lost: share of the first anchor's mean that the line has lost, by number of customers.
    """
    knobs = TrialKnobs(delta=line.delta, max_customers=most)
    carried, frozen, seen, renewals, alpha = line.carried, 0.0, 0, 0, spent(knobs.alpha, 1)
    while seen < most:
        rest = max(line.delta - carried, 0.0)
        grid = tuple(sorted({-rest, 0.0, rest / 2.0, rest}))
        evidence = begin(Design(share, LOW, HIGH, grid, restarts(most)))
        verdict = judge_anchor(evidence, knobs, 0.0, carried=carried)
        while verdict.decision == "go_on" and seen < most:
            treated = rng.random(BLOCK) < share
            quality = np.where(treated, quality_of(frozen, HABITS), quality_of(lost(seen), HABITS))
            before, totals = evidence.customers, lives(rng, quality, HABITS).totals
            evidence = until(
                evidence, treated, totals, [(ABOVE, rest), (BELOW, rest / 2.0)], alpha, knobs.min_customers
            )
            verdict = judge_anchor(evidence, knobs, 0.0, carried=carried)
            seen += evidence.customers - before
        if verdict.decision == "roll_back":
            return Ended("roll_back", seen, lost(seen), renewals)
        if verdict.decision == "renew":
            frozen, renewals = lost(seen), renewals + 1
            carried = verdict.carried if line.carry else line.carried
    return Ended("time_out", seen, lost(seen), renewals)


def until(
    evidence: Evidence, treated: Flags, totals: Floats, looks: Sequence[Look], alpha: float, least: int
) -> Evidence:
    """The evidence up to the customer after whom one of the looks decides, or with all."""
    after, path = follow(evidence, treated, totals)
    grid = evidence.design.candidates
    crossed = np.any([path[:, side, grid.index(candidate)] >= -math.log(alpha) for side, candidate in looks], axis=0)
    crossed &= evidence.treated + np.cumsum(treated) >= least
    crossed &= evidence.others + np.cumsum(~treated) >= least
    if not crossed.any():
        return after
    last = int(np.argmax(crossed)) + 1
    return follow(evidence, treated[:last], totals[:last])[0]


def peers(rng: np.random.Generator, share: float, most: int) -> dict[str, tuple[bool, bool]]:
    """By test: whether one trial without a difference is ever called better, and ever worse. All see the same customers."""
    customer_treated = rng.random(most) < share
    found = lives(rng, np.ones(most), HABITS, timed=True)
    totals = np.clip(found.totals, LOW, HIGH)
    rewards, reward_treated = found.rewards[found.order], customer_treated[found.of[found.order]]
    by_customer, by_reward = welch_path(customer_treated, totals), welch_path(reward_treated, rewards)
    bet = {
        name: tuple(
            bool(peak >= math.log(20.0))
            for peak in follow(begin(Design(share, LOW, HIGH, (0.0,))), arm, values)[1][-1, :, 0]
        )
        for name, arm, values in (("customers", customer_treated, totals), ("rewards", reward_treated, rewards))
    }
    return {
        "betting, per customer": (bet["customers"][0], bet["customers"][1]),
        "betting, per reward": (bet["rewards"][0], bet["rewards"][1]),
        "z at the end, per customer": (bool(by_customer[-1] >= ONE_LOOK), bool(by_customer[-1] <= -ONE_LOOK)),
        "z at the end, per reward": (bool(by_reward[-1] >= ONE_LOOK), bool(by_reward[-1] <= -ONE_LOOK)),
        "z peeked at, per customer": ever(by_customer, customer_treated, 100, ONE_LOOK),
        "z peeked at, per reward": ever(by_reward, reward_treated, 100, ONE_LOOK),
    }


def sliding(most: float) -> Callable[[int], float]:
    """Share of the mean that a line has lost by a number of customers, a little with each refresh, `most` in the end."""
    return lambda customers: min(REFRESH_LOSS * (customers // BLOCK), most)


def level(_customers: int) -> float:
    """The line stays as good as its first anchor."""
    return 0.0


def scenarios(
    runs: int, seed: int, most: int, keep: Path | None = None
) -> Iterator[tuple[str, Callable[[], list[dict[str, object]]]]]:
    """Each scenario by name, and what plays it and tells its lines; `keep` as in `ends_of`."""

    def played(
        name: str, play: Callable[[np.random.Generator], Ended]
    ) -> tuple[str, Callable[[], list[dict[str, object]]]]:
        def lines() -> list[dict[str, object]]:
            kept = keep / f"{re.sub('[^a-z0-9.]+', '-', name)}-{seed}-{most}.jsonl" if keep else None
            ends = ends_of([partial(play, random(name, seed, run)) for run in range(runs)], kept)
            return [{"scenario": name, "runs": runs} | summary(ends)]

        return name, lines

    fifth, spent_up = most // 5, Line(carried=DELTA)
    for share in (0.1, 0.5):
        yield played(f"canary, no difference, share {share}", partial(canary, share=share, loss=0.0, most=fifth))
    for share in (0.1, 0.5):
        yield played(f"canary, reward -20 %, share {share}", partial(canary, share=share, loss=0.2, most=most))
    still = partial(anchor, share=0.1, lost=level, most=fifth)
    yield played("anchor, no difference, share 0.1", still)
    yield played("anchor, no difference, nothing to spare, share 0.1", partial(still, line=spent_up))
    yield "peers", partial(peer_lines, runs, seed, fifth)
    for share in (0.1, 0.5):
        slid = partial(anchor, share=share, lost=sliding(0.3), most=2 * most)
        yield played(f"anchor, slide to -30 %, share {share}", slid)
    for carry in (True, False):
        name = f"anchor, slide to -90 %, delta {WIDE}, renewals {'charged' if carry else 'free'}, share 0.5"
        slid = partial(anchor, share=0.5, lost=sliding(0.9), most=2 * most, line=Line(WIDE, carry=carry))
        yield played(name, slid)


def ends_of(plays: Sequence[Callable[[], Ended]], kept: Path | None) -> list[Ended]:
    """The end of each run; those whose line the file holds are read, the others played and appended, a line as each ends.

    A line that a crash cut off is played again. Whoever changes the code gives another folder.
    """
    whole = kept.read_bytes().split(b"\n")[:-1] if kept and kept.is_file() else []
    ends = [Ended(*json.loads(line)) for line in whole[: len(plays)]]
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.open("ab") as out:
            out.truncate(sum(1 + len(line) for line in whole))
    for number, play in enumerate(plays[len(ends) :], 1 + len(ends)):
        ends.append(play())
        if kept:
            with kept.open("ab") as out:
                out.write(json.dumps(ends[-1]).encode() + b"\n")
        if number % TOLD_EVERY == 0:
            say(f"{number} of {len(plays)} runs")
    return ends


def peer_lines(runs: int, seed: int, most: int) -> list[dict[str, object]]:
    """A line per test, of the same trials without a difference."""
    called: dict[str, list[tuple[bool, bool]]] = {}
    for run in range(runs):
        for name, verdict in peers(random("peers", seed, run), 0.5, most).items():
            called.setdefault(name, []).append(verdict)
    lines = []
    for name, verdicts in called.items():
        better, worse = np.sum(verdicts, axis=0).tolist()
        line = {"scenario": f"peers, no difference: {name}, share 0.5", "runs": runs}
        lines.append(line | {"better": with_interval(better, runs), "worse": with_interval(worse, runs)})
    return lines


def random(name: str, seed: int, run: int) -> np.random.Generator:
    """A run's own numbers, whatever else is played."""
    return np.random.default_rng(stable_seed("sequential", name, str(seed), str(run)))


def summary(ends: Sequence[Ended]) -> dict[str, object]:
    """Shares of decisions, with the customers and the line's loss when they were taken."""
    found: dict[str, object] = {}
    slid = any(end.loss or end.renewals for end in ends)
    for decision in ("promote", "roll_back", "time_out"):
        those = [end for end in ends if end.decision == decision]
        found[decision] = with_interval(len(those), len(ends))
        if those and decision != "time_out":
            found[f"{decision}_customers_median_p90"] = quantiles([end.customers for end in those])
        if those and slid:
            found[f"{decision}_loss_median_p90"] = quantiles([end.loss for end in those])
    return found | ({"renewals_mean": round(float(np.mean([end.renewals for end in ends])), 2)} if slid else {})


def quantiles(values: Sequence[float]) -> list[float]:
    """Median and 90 % quantile."""
    return [round(float(value), 4) for value in np.quantile(values, [0.5, 0.9])]


def with_interval(hits: int, runs: int, z: float = 1.96) -> list[float]:
    """Share, and Wilson's 95 % interval of it."""
    share = hits / runs
    centre, half = share + z * z / (2 * runs), z * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    low, high = ((centre + sign * half) / (1 + z * z / runs) for sign in (-1.0, 1.0))
    return [round(share, 4), round(max(low, 0.0), 4), round(min(high, 1.0), 4)]


def main(argv: Sequence[str] | None = None) -> int:
    """Play all scenarios and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="of each scenario")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--customers", type=int, default=100_000, help="a trial's most; without a difference a fifth of it"
    )
    parser.add_argument("--only", default="", help="scenarios whose name begins with this")
    parser.add_argument("--keep", type=Path, help="folder of runs' ends: those that lie there are not played again")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    chosen = parser.parse_args(argv)
    begun = time.process_time()
    for name, lines in scenarios(chosen.runs, chosen.seed, chosen.customers, chosen.keep):
        for line in lines() if name.startswith(chosen.only) else []:
            told = json.dumps(line) if chosen.json else "  ".join(f"{key}: {value}" for key, value in line.items())
            print(told, flush=True)
    print(f"{time.process_time() - begun:.0f} CPU seconds", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
