"""The updater's trials: what is served decides which there are, rewards and strategies feed them. Without I/O.

They lie in the updater's snapshot beside the offset of the rewards that they include, so that a restart decides as an
undisturbed run does. The record `serving` is the commit of a decision: a trial that it does not name is over, one that it
names and the snapshot does not know begins again, with the numbers that the record carries.
"""

from msgspec import Struct

from model.rollout import TrialKnobs
from model.trial import COMPLAINTS, FALLBACKS, LATE, Item, Role, Trial, TrialDesign, passes, start, tell, treats
from model.trial_judging import Verdict, judge
from services.settings import UpdaterSettings
from services.updater_strategies import MODEL_ARMS
from streaming.contracts.adapters import Serving
from streaming.contracts.codec import to_ms
from streaming.contracts.rewards import Reward

HOUR_MS = 3_600_000


class Trials(Struct):
    """What is on trial, and where `strategies` was read to for it. Changed in place."""

    canary: Trial | None = None
    anchor: Trial | None = None
    offsets: dict[int, int] = {}

    def of(self, role: Role) -> Trial | None:
        """The trial of a role."""
        return self.canary if role == "canary" else self.anchor

    @property
    def standing(self) -> list[Trial]:
        """Every trial under way."""
        return [trial for trial in (self.canary, self.anchor) if trial is not None]


def design_of(settings: UpdaterSettings) -> TrialDesign:
    """How trials are decided, by the settings."""
    knobs = TrialKnobs(
        alpha=settings.trial_alpha,
        delta=settings.trial_delta,
        min_customers=settings.trial_min_customers,
        max_customers=settings.trial_max_customers,
        max_s=settings.trial_max_days * 86_400.0,
    )
    window_ms, settle_ms = (round(hours * HOUR_MS) for hours in (settings.trial_window_h, settings.trial_settle_h))
    caps = {COMPLAINTS: settings.complaint_cap, FALLBACKS: settings.fallback_cap, LATE: settings.late_cap}
    return TrialDesign(knobs, settings.trial_low, settings.trial_high, window_ms, settle_ms, caps)


def follow(trials: Trials, serving: Serving, design: TrialDesign) -> None:
    """Have the trials that the record names, and no other."""
    trials.canary = _followed(trials.canary, "canary", serving.canary, serving.canary_share, serving, design)
    trials.anchor = _followed(trials.anchor, "anchor", serving.anchor, serving.anchor_share, serving, design)
    if not trials.standing:
        trials.offsets = {}


def _followed(
    known: Trial | None, role: Role, version: str, share: float, serving: Serving, design: TrialDesign
) -> Trial | None:
    salt = serving.salts.get(role, "")
    if not (version and salt and 0.0 < share < 1.0):
        return None
    if known is not None and (known.version, known.salt, known.share) == (version, salt, share):
        return known
    number, carried = (serving.anchor_trial, serving.anchor_carried) if role == "anchor" else (1, 0.0)
    return start(role, version, salt, share, design, number=number, carried=carried)


def told_reward(trials: Trials, reward: Reward) -> None:
    """A reward that was not told before: it moves the trials' time, and a final ends its strategy."""
    at_ms = to_ms(reward.closed_at)
    counts = reward.stage == "final" and not reward.ghost and not reward.mixed_arms
    for trial in trials.standing:
        if not counts or reward.policy is None or reward.assigned_arm not in MODEL_ARMS:
            passes(trial, trial.ends, at_ms)
            continue
        harmed = reward.outcomes.unsubscribed or reward.outcomes.complained
        values = (reward.reward, float(harmed))
        item = Item(to_ms(reward.issued_at), reward.strategy_id, reward.user_id, reward.policy.adapter, values)
        tell(trial, trial.ends, item, at_ms)


def told_answer(trials: Trials, item: Item) -> None:
    """A strategy was answered."""
    for trial in trials.standing:
        tell(trial, trial.answers, item, item.issued_at_ms)


def judged(trials: Trials, role: Role, design: TrialDesign) -> Verdict | None:
    """What becomes of a role's trial; None while it goes on, or there is none."""
    trial, other = trials.of(role), trials.of("anchor" if role == "canary" else "canary")
    if trial is None:
        return None
    return judge(trial, design, lambda customer: other is not None and treats(other, customer))
