"""How far apart the mean rewards of two arms are, by a bound that holds however often it is looked at. Pure.

Two arms share the customers of a trial: `treated` gets the version on trial, the others what is served anyway. What is
wanted is the difference of the arms' mean reward per customer, and a bound on it that may be looked at after every
customer and acted on at any moment. It is a confidence sequence by betting [1, hedged capital]: for every
candidate difference m someone bets, with capital 1, that the true one is larger, and someone that it is smaller. If it is
m, neither can expect to win, so that capital ever reaches 1/alpha with probability alpha at most (Ville's inequality).
An m against which capital has reached 1/alpha is ruled out, for good: the largest capital so far counts.

**The unit of evidence is the customer, who counts once per trial.** Customers come back, and their rewards are alike:
many rewards of one generous customer who happens to be treated say little about the treatment, and a test that takes
rewards for independent finds differences where there are none. One observation per customer *and period* does not mend
that: from the second period on the arm is known, so the bettor knows that generous customer's arm beforehand, and
the game is not fair any more. Hence:

- A customer is enrolled at the first request within the trial, whichever arm answers, and everything that is earned in a
  window of fixed length from then on is one sum, X. It is clipped to [low, high]. Who earns nothing counts with 0. What
  is earned after the window counts nowhere; another look at the same customer needs another trial with another salt.
- Sums enter in order of enrolment, once the window and the horizon of what was begun in it are over. That moment depends
  neither on the arm nor on what was earned, or whoever converts fast would enter first. `model/cohort.py` keeps these books.
- The arm A is a hash of the customer's id with the trial's own salt: A = 1 with probability p, whatever the customer is
  like and whatever those enrolled before did. This is what is assumed; customers need be neither alike, nor independent of
  each other, nor stationary. (It is bent a little where what a customer does can still change, by learning or by stock,
  what customers enrolled earlier earn in the rest of their windows.) With c any number fixed before A is seen,

      Z = (A/p - (1-A)/(1-p)) (X - c),    E[Z | the past] = E[X if treated - X if not | the past],

  the inverse-propensity estimate of this customer's own difference, in known bounds. c (the mean so far, or what was
  expected of this customer before enrolment) only takes noise away. [2] does the same for off-policy values.
- Each bet multiplies capital by 1 + l (Z - m), or 1 - l (Z - m), l >= 0 fixed beforehand and small enough to keep
  capital positive. If each customer's difference is m at most, the first is at best a fair game for the bettor, so
  "capital 1/alpha against all differences up to m" has probability alpha at most, even while the
  differences drift. The *interval* presumes more: one difference that lasts.

**The bets** are constant ones, spaced by factors of two, an equal part of the capital on each (diversified Kelly betting,
[1]; Cover's universal portfolios): without tuning the capital grows as with the best of them, but for the
factor of their number. Each factor falls in m (rises, for the other side), truncation included, hence what is ruled out is
everything up to a bound, and between two candidates the bound is the outer one.

**Differences that grow** are seen late by bets that began when there was none: what they lost then must be won back first. A
design may therefore name *restarts*: half of the capital bets from the first customer, of the other half an equal part begins at
each restart and is kept until then. All parts together are still one game that is fair where the difference is m [3]. A
difference that is there from the beginning needs log 2 more of evidence for it, at the most.

**What clipping does**: the difference is that of the means of clipped sums. What exceeds the bounds cannot be seen: a
version that earns more through a few huge orders, or loses by them, may look like the other. Wider bounds see more and
need more customers, in proportion to high - low where bets are at their limits.

References:
    [1] Waudby-Smith, Ramdas (2024), Estimating means of bounded random variables by betting, JRSS B 86(1), 1-27.
    [2] Waudby-Smith, Wu, Ramdas, Karampatziakis, Mineiro (2024), Anytime-valid off-policy inference for contextual
        bandits, ACM/IMS Journal of Data Science 1(3).
    [3] Shin, Ramdas, Rinaldo (2024), E-detectors: a nonparametric framework for sequential change detection, New England
        Journal of Statistics in Data Science 2(2): e-processes begun at successive moments, here mixed for one level alpha.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct, structs

from model.betting import STAKES, Design, log_growth, log_mixed

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

CHUNK = 2048
"""Customers at a time: bounds the memory, 8 MB at 33 candidates."""
ABOVE, BELOW = 0, 1
"""The two sides: bets that the difference is above a candidate, and below."""


class Evidence(Struct, frozen=True):
    """All that is kept of the customers so far; some 5 kB with 33 candidates and 4 for each restart, however many they were.

    Args:
        treated, others: customers; `treated_sum`, `others_sum`: of their clipped sums.
        log_capital: float64, little-endian, (2 sides, candidates, bets): of capital 1 that bets from the first customer.
        log_peak: the same, (2 sides, candidates): the largest log capital so far over all bets and all parts.
        at_restarts: the same, (restarts so far, 2 sides, candidates, bets): `log_capital` as it was there.
    """

    design: Design
    treated: int
    others: int
    treated_sum: float
    others_sum: float
    log_capital: bytes
    log_peak: bytes
    at_restarts: bytes = b""

    @property
    def customers(self) -> int:
        """Of both arms."""
        return self.treated + self.others

    @property
    def estimate(self) -> float:
        """Difference of the arms' means so far, 0 while one has no customer; no bound of any kind."""
        return self.treated_sum / self.treated - self.others_sum / self.others if self.treated and self.others else 0.0


class Observation(NamedTuple):
    """One customer's trial, over.

    Args:
        treated: the arm that was assigned, whatever answered in the end.
        total: everything earned in the window, units of reward, unclipped.
        expected: what was expected of this customer, known before the arm; None: the mean of the customers before.
    """

    treated: bool
    total: float
    expected: float | None = None


class Interval(NamedTuple):
    """Bounds on the difference, units of reward per customer; the lower is above the upper if everything is ruled out."""

    lower: float
    upper: float


def begin(design: Design) -> Evidence:
    """No customer yet: capital 1 everywhere, nothing ruled out."""
    sizes = 2 * len(design.candidates)
    return Evidence(design, 0, 0, 0.0, 0.0, _packed(np.zeros(sizes * len(STAKES))), _packed(np.zeros(sizes)))


def observe(evidence: Evidence, observations: list[Observation]) -> Evidence:
    """The evidence with further customers, in order of their enrolment."""
    if not observations:
        return evidence
    expected = [math.nan if each.expected is None else each.expected for each in observations]
    treated, totals = np.array([each.treated for each in observations]), np.array([each.total for each in observations])
    return follow(evidence, treated, totals, np.array(expected))[0]


def follow(
    evidence: Evidence, treated: Flags, totals: Floats, expected: Floats | None = None
) -> tuple[Evidence, Floats]:
    """The evidence with further customers, and how it came to be.

    Args:
        treated, totals, expected: (n,) as in `Observation`, `expected` with NaN for None.

    Returns:
        The evidence, and (n, 2 sides, candidates) the largest log capital after each customer.

    Raises:
        ValueError: if a number is infinite or no number; nothing of the customers is counted then.
    """
    if not np.isfinite(totals).all() or (expected is not None and np.isinf(expected).any()):
        raise ValueError("totals and expectations of customers must be finite")
    paths = []
    for part in _parts(evidence, len(totals)):
        evidence, path = _follow(evidence, treated[part], totals[part], None if expected is None else expected[part])
        paths.append(path)
    shape = (0, 2, len(evidence.design.candidates))
    return evidence, np.concatenate(paths) if paths else np.zeros(shape)


def log_e_above(evidence: Evidence, difference: float) -> float:
    """Log of the largest e-value so far against "the difference is at most this"; ≥ log(1/alpha) rules it out.

    Between two candidates the one above speaks, which claims more.
    """
    place = int(np.searchsorted(evidence.design.candidates, difference, side="left"))
    peak = _peak(evidence)[ABOVE]
    return float(peak[place]) if place < len(peak) else 0.0


def log_e_below(evidence: Evidence, difference: float) -> float:
    """Log of the largest e-value so far against "the difference is at least this"."""
    place = int(np.searchsorted(evidence.design.candidates, difference, side="right")) - 1
    return float(_peak(evidence)[BELOW][place]) if place >= 0 else 0.0


def interval(evidence: Evidence, alpha: float) -> Interval:
    """Bounds each of which fails, at any time ever, with probability alpha at most; both together 2 alpha."""
    found = _peak(evidence) >= -math.log(alpha)
    grid, spread = np.array(evidence.design.candidates), evidence.design.spread
    above, below = grid[found[ABOVE]], grid[found[BELOW]]
    return Interval(float(above.max()) if len(above) else -spread, float(below.min()) if len(below) else spread)


def _parts(evidence: Evidence, count: int) -> Iterator[slice]:
    """Of so many further customers, in order: at most `CHUNK` each, and none across a restart."""
    ends = {*range(CHUNK, count, CHUNK), *(restart - evidence.customers for restart in evidence.design.restarts), count}
    start = 0
    for end in sorted(end for end in ends if 0 < end <= count):
        yield slice(start, end)
        start = end


def _follow(evidence: Evidence, treated: Flags, totals: Floats, expected: Floats | None) -> tuple[Evidence, Floats]:
    design = evidence.design
    clipped = np.clip(totals, design.low, design.high)
    centre = _means_before(evidence, clipped)
    if expected is not None:
        centre = np.where(np.isnan(expected), centre, np.clip(expected, design.low, design.high))
    before = np.frombuffer(evidence.log_capital, "<f8").reshape(2, len(design.candidates), len(STAKES))
    capital = before + np.cumsum(log_growth(design, treated, clipped, centre), axis=0)
    begun = np.frombuffer(evidence.at_restarts, "<f8").reshape(-1, *before.shape)
    path = np.maximum.accumulate(np.maximum(log_mixed(design, capital, begun), _peak(evidence)), axis=0)
    begins = evidence.customers + len(clipped) in design.restarts
    return structs.replace(
        evidence,
        treated=evidence.treated + int(treated.sum()),
        others=evidence.others + int((~treated).sum()),
        treated_sum=evidence.treated_sum + float(clipped[treated].sum()),
        others_sum=evidence.others_sum + float(clipped[~treated].sum()),
        log_capital=_packed(capital[-1]),
        log_peak=_packed(path[-1]),
        at_restarts=evidence.at_restarts + (_packed(capital[-1]) if begins else b""),
    ), path


def _means_before(evidence: Evidence, clipped: Floats) -> Floats:
    """(n,) Mean of all customers before each; before the first, 0 or the bound nearest to it."""
    counts = evidence.customers + np.arange(len(clipped))
    sums = evidence.treated_sum + evidence.others_sum + np.concatenate(([0.0], np.cumsum(clipped)[:-1]))
    means: Floats = np.clip(sums / np.maximum(counts, 1), evidence.design.low, evidence.design.high)
    return means


def _peak(evidence: Evidence) -> Floats:
    return np.frombuffer(evidence.log_peak, "<f8").reshape(2, len(evidence.design.candidates))


def _packed(numbers: Floats) -> bytes:
    return numbers.astype("<f8").tobytes()
