"""Metrics of what was learned."""

import logging

from services import metrics
from services.updater_announcing import SERVICE
from services.updater_learning import Learned
from streaming.contracts.codec import to_ms
from streaming.contracts.kinds import kind_label

LOG = logging.getLogger(__name__)
MIXED = "mixed"
"""Arm of rewards that are no evidence for an arm."""
SMOOTHING = 0.02
"""Weight of the newest loss in the recent mean."""


class Counting:
    """Counts rewards, letters and drifts, and keeps the recent mean of the critic's prequential losses."""

    def __init__(self) -> None:
        """Nothing counted."""
        self._losses: dict[str, float] = {}

    def count(self, learned: Learned) -> None:
        """Metrics of one record; arms are the assigned ones, because arms are compared as customers were assigned.

        A customer merged from two arms is no evidence for either, and is counted apart.
        """
        self._letter(learned)
        reward, lesson = learned.reward, learned.lesson
        if reward is None or lesson is None or lesson.fate == "duplicate":
            return
        arm = MIXED if reward.mixed_arms else reward.assigned_arm
        metrics.REWARDS.labels(reward.stage, kind_label(reward.kind), arm).inc()
        delay_s = (to_ms(reward.closed_at) - to_ms(reward.issued_at)) / 1000
        metrics.REWARD_DELAY.labels(reward.stage).observe(max(delay_s, 0.0))
        if reward.stage != "response":
            paid = reward.reward if reward.stage == "final" else reward.difference
            metrics.REWARD_SUM.labels(kind_label(reward.kind), arm).inc(paid)
        for outcome, loss in lesson.losses.items():
            before = self._losses.get(outcome, loss)
            self._losses[outcome] = before + SMOOTHING * (loss - before)
            metrics.CRITIC_ERROR.labels(outcome).set(self._losses[outcome])
        if lesson.drifted:
            metrics.DRIFTS.labels(kind_label(reward.kind)).inc()
            LOG.warning("drift of %s: forgetting faster and exploring wider for a while", reward.kind)

    @staticmethod
    def _letter(learned: Learned) -> None:
        if learned.letter is None:
            return
        headers = dict(learned.letter.headers)
        reason = headers.get("reason", b"").decode()
        metrics.DEAD_LETTERS.labels(SERVICE, reason).inc()
        if reason == "bug":
            metrics.BUGS.labels(SERVICE).inc()
            LOG.error("a reward tripped our own bug: %s", headers.get("traceback", b"").decode())
