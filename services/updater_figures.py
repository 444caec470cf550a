"""Metrics of what the updater makes: how old an adapter's data are once it is served, and how its trials stand."""

from msgspec import Struct

from model.rollout import spent
from model.sequential import interval
from model.trial import REWARD, Role, Trial, TrialDesign
from services import metrics
from services.updater_trials import Trials
from streaming.contracts.adapters import Serving


class Freshness:
    """From the broker's time of the reward that completed a candidate's data to the candidate's being served.

    It is no matter of traffic: how long an adapter's data take to come together is not part of it, nor is a refused candidate.
    """

    def __init__(self) -> None:
        """Nothing was read."""
        self._newest_ms = 0
        self._candidate: object = None
        self._completed_ms = 0

    def read(self, timestamp_ms: int) -> None:
        """A reward was learned whose Kafka timestamp is this."""
        self._newest_ms = max(self._newest_ms, timestamp_ms)

    def stands(self, candidate: object) -> None:
        """This candidate (or None) waits for the gate: its data end with what was read when it was first seen."""
        if candidate is not self._candidate:
            self._candidate, self._completed_ms = candidate, self._newest_ms

    def served(self, now_ms: int) -> None:
        """The candidate is announced as served."""
        if self._completed_ms:  # else its data came with a snapshot, and nobody knows when they were closed
            metrics.REWARD_TO_ADAPTER.observe(max(0.0, (now_ms - self._completed_ms) / 1000))


class _Shown(Struct, frozen=True):
    """What a set of gauges was made of; equal where nothing would change."""

    version: str
    salt: str
    customers: int
    answered: int


class TrialFigures:
    """The standing trials as gauges; they are set again when a customer has entered, and removed with their trial."""

    def __init__(self) -> None:
        """Nothing is shown."""
        self._shown: dict[Role, _Shown] = {}
        self._serving: Serving | None = None

    def show(self, trials: Trials, serving: Serving | None, design: TrialDesign) -> None:
        """Bring the gauges up to date."""
        if serving is not self._serving:
            self._serving = serving
            _show_shares(serving)
        now = {trial.role: _made_of(trial) for trial in trials.standing}
        if now == self._shown:
            return
        if now.keys() != self._shown.keys():
            for gauge in (metrics.TRIAL_CUSTOMERS, metrics.TRIAL_DIFFERENCE, metrics.TRIAL_HARM):
                gauge.clear()
        self._shown = now
        for trial in trials.standing:
            _show(trial, design)


def _made_of(trial: Trial) -> _Shown:
    ends, answers = trial.ends.ledgers[0].evidence, trial.answers.ledgers[0].evidence
    return _Shown(trial.version, trial.salt, ends.customers, answers.customers)


def _show_shares(serving: Serving | None) -> None:
    if serving is None:
        return
    shares = {"canary": serving.canary_share, "anchor": serving.anchor_share}
    taken = {role: share if getattr(serving, role) else 0.0 for role, share in shares.items()}
    # Each role has a salt of its own, and a customer whom both treat gets the canary.
    anchored = (1.0 - taken["canary"]) * taken["anchor"]
    for role, share in {**taken, "anchor": anchored, "champion": 1.0 - taken["canary"] - anchored}.items():
        metrics.SERVED_SHARE.labels(role).set(share)


def _show(trial: Trial, design: TrialDesign) -> None:
    alpha = design.knobs.alpha if trial.role == "canary" else spent(design.knobs.alpha, trial.number)
    for ledger in (*trial.ends.ledgers, *trial.answers.ledgers):
        evidence = ledger.evidence
        if ledger.name != REWARD:
            metrics.TRIAL_HARM.labels(trial.role, ledger.name).set(evidence.estimate)
            continue
        bounds = interval(evidence, alpha)
        for bound, value in {"estimate": evidence.estimate, "lower": bounds.lower, "upper": bounds.upper}.items():
            metrics.TRIAL_DIFFERENCE.labels(trial.role, bound).set(value)
        for side, customers in {"treated": evidence.treated, "others": evidence.others}.items():
            metrics.TRIAL_CUSTOMERS.labels(trial.role, side).set(customers)
