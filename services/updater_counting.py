"""Metrics of what was learned."""

import logging

from services import metrics
from services.updater_learning import Learned
from streaming.contracts.codec import to_ms

LOG = logging.getLogger(__name__)
SMOOTHING = 0.02
"""Weight of the newest loss in the recent mean."""


def count(learned: Learned) -> None:
    """Metrics of one reward."""
    reward, lesson = learned.reward, learned.lesson
    if reward is None or lesson is None or lesson.fate == "duplicate":
        return
    metrics.REWARDS.labels(reward.stage, reward.kind, reward.acting_arm).inc()
    delay_s = (to_ms(reward.closed_at) - to_ms(reward.issued_at)) / 1000
    metrics.REWARD_DELAY.labels(reward.stage).observe(max(delay_s, 0.0))
    if reward.stage != "response":
        paid = reward.reward if reward.stage == "final" else reward.difference
        metrics.REWARD_SUM.labels(reward.kind, reward.acting_arm).inc(paid)
    if lesson.drifted:
        metrics.DRIFTS.labels(reward.kind).inc()
        LOG.warning("drift of %s: forgetting faster and exploring wider for a while", reward.kind)
