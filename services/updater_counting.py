"""Metrics of what was learned."""

import logging

from services import metrics
from services.updater_announcing import SERVICE
from services.updater_learning import Learned
from streaming.contracts.codec import to_ms
from streaming.contracts.kinds import CHANNELS, kind_label
from streaming.contracts.rewards import Reward
from streaming.contracts.tracing import headers_of, said, span_id
from streaming.facts import ITEMS
from streaming.reward import Formula
from streaming.stamps import digest

LOG = logging.getLogger(__name__)
ITEM_LOG = logging.getLogger(ITEMS)
MIXED = "mixed"
"""Arm of rewards that are no evidence for an arm."""
SMOOTHING = 0.02
"""Weight of the newest loss in the recent mean."""
HAPPENED = ("shown", "clicked", "ordered", "refunded", "unsubscribed", "complained")
"""Outcomes that happen to a strategy or do not."""
PARTS = ("click", "order", "margin", "discount", "refund", "offer", "unsubscribe", "complaint", "cost")
"""Parts of a reward that the formula names; what else a record may hold is no label."""
GROUPS = 32
"""Of customers, by a hash of their id: a customer's strategies stay together, so that groups are independent where strategies are not."""


def group_of(user_id: str) -> str:
    """The label of a customer's group; a thirty-second part of all customers has it."""
    return str(int.from_bytes(digest(user_id)) % GROUPS)


class Counting:
    """Counts rewards, letters and drifts, and keeps the recent mean of the critic's prequential losses."""

    def __init__(self, formula: Formula) -> None:
        """Nothing counted."""
        self._formula = formula
        self._losses: dict[str, float] = {}

    def count(self, learned: Learned) -> None:
        """Metrics of one record; arms are the assigned ones, because arms are compared as customers were assigned.

        A customer merged from two arms is no evidence for either, and is counted apart.
        """
        self._letter(learned)
        reward, lesson = learned.reward, learned.lesson
        if reward is None or lesson is None:
            return
        metrics.LESSONS.labels(lesson.fate).inc()
        if lesson.fate == "duplicate":
            return
        if ITEM_LOG.isEnabledFor(logging.INFO):
            ids = {name: getattr(reward, name) for name in ("reward_id", "strategy_id", "request_id")}
            trace = said(headers_of(reward.request, f"learned {reward.reward_id}"))
            ITEM_LOG.info("learned", extra=ids | {"traceparent": trace, "parent_id": span_id(reward.reward_id)})
        arm = MIXED if reward.mixed_arms else reward.assigned_arm
        metrics.REWARDS.labels(reward.stage, kind_label(reward.kind), arm).inc()
        delay_s = (to_ms(reward.closed_at) - to_ms(reward.issued_at)) / 1000
        metrics.REWARD_DELAY.labels(reward.stage).observe(max(delay_s, 0.0))
        if reward.stage != "response":
            paid = reward.reward if reward.stage == "final" else reward.difference
            metrics.REWARD_SUM.labels(kind_label(reward.kind), arm, group_of(reward.user_id)).inc(paid)
        if reward.stage == "final":
            self._closed(reward, arm)
        for outcome, loss in lesson.losses.items():
            before = self._losses.get(outcome, loss)
            self._losses[outcome] = before + SMOOTHING * (loss - before)
            metrics.CRITIC_ERROR.labels(outcome).set(self._losses[outcome])
        if lesson.drifted:
            metrics.DRIFTS.labels(kind_label(reward.kind)).inc()
            LOG.warning("drift of %s: forgetting faster and exploring wider for a while", reward.kind)

    def _closed(self, reward: Reward, arm: str) -> None:
        """What a final says once: outcomes, parts, and what arms and holdout are compared by."""
        kind, cost = kind_label(reward.kind), reward.components.get("cost", 0.0)
        net = self._formula.total_value(reward.outcomes, "horizon_margin_minor") + cost
        group = group_of(reward.user_id)
        metrics.FINALS.labels(kind, arm, group).inc()
        metrics.NET_MARGIN_SUM.labels(kind, arm, group).inc(net)
        if reward.ghost:
            return
        said = reward.decision.get("channel", "")
        channel = said if said in CHANNELS else "other" if said else "none"
        for part in PARTS:
            metrics.REWARD_PARTS.labels(kind, channel, arm, part).inc(reward.components.get(part, 0.0))
        metrics.OUTCOMES.labels(kind, channel, arm, "closed").inc()
        for outcome in HAPPENED:
            metrics.OUTCOMES.labels(kind, channel, arm, outcome).inc(getattr(reward.outcomes, outcome))

    @staticmethod
    def _letter(learned: Learned) -> None:
        if learned.letter is None:
            return
        headers = dict(learned.letter.headers)
        reason = headers.get("reason", b"").decode()
        metrics.DEAD_LETTERS.labels(SERVICE, reason).inc()
        if reason == "bug":
            metrics.BUGS.labels(SERVICE).inc()
            LOG.error("a reward tripped our own bug, dead-lettered with its traceback")
