"""Lets a member of a consumer group join anew when its join does not end.

kafka-python 3.0.12 forgets a join that outlasts its `poll` when nothing but changed metadata (partitions were added, a
broker came back) asked for it: the member takes itself for rebalancing for good, reads nothing, sends no heartbeat and
may commit nothing.
"""

import logging
import time

from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka.structs import MemberState

LOG = logging.getLogger(__name__)
PATIENCE_S = 15.0
"""Longer than a join among idle members; where it was only slow, joining anew costs one more round."""


class Joining:
    """Watches one consumer's state, of the same thread."""

    def __init__(
        self, consumer: KafkaConsumer, listener: ConsumerRebalanceListener | None, patience_s: float = PATIENCE_S
    ) -> None:
        """`listener` is what the consumer subscribed with."""
        self._consumer, self._listener, self._patience_s = consumer, listener, patience_s
        self._since_s: float | None = None

    def polled(self) -> bool:
        """To be called after each `poll`; whether the group was left, and is joined anew by the next."""
        if self._consumer.group_metadata().state is not MemberState.REBALANCING:
            self._since_s = None
            return False
        now_s = time.monotonic()
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s < self._patience_s:
            return False
        LOG.warning(
            "joining %s does not end: joined anew after %.0f s",
            self._consumer.config["group_id"],
            now_s - self._since_s,
        )
        self._since_s = None
        topics = sorted(self._consumer.subscription())
        self._consumer.unsubscribe()  # leaves the group as well
        self._consumer.subscribe(topics, listener=self._listener)
        return True
