"""What the agents' process watches about itself: that its work moves, that its topics are those it began with."""

import asyncio
import logging

from services import metrics
from services.health import Health
from services.liveness import CHECK_EVERY_S, Look, Watch, standing
from services.settings import AgentsSettings
from services.topics import Topic, Topics
from streaming.app import Agents
from streaming.contracts.topics import INPUTS

BEAT_S = 1.0

_log = logging.getLogger(__name__)


class AgentsWatch:
    """Looks every few seconds; the topics' ids are those that the agents know."""

    def __init__(self, agents: Agents, settings: AgentsSettings, topics: Topics, health: Health, group: str) -> None:
        """Nothing was looked at yet."""
        self._agents, self._health = agents, health
        self._ids = dict(topics.ids)
        self._partitions = topics.partitions
        self._watch = Watch(
            settings,
            "agents",
            INPUTS,
            group=group,
            applied=agents.processor.floors.applied,
            health=health,
        )

    async def run(self) -> str:
        """Return why the process has to end, in words."""
        while True:
            waiting = self._agents.processor.waiting
            found = await asyncio.to_thread(self._watch.look, waiting=waiting)
            if found is not None:
                if reason := self._topics_changed(found.topics):
                    return reason
                if reason := self._stands(found):
                    self._health.stands(reason)
                    return reason
            await asyncio.sleep(CHECK_EVERY_S)

    async def beat(self) -> None:
        """Signs of life of the event loop, and whether the group was joined."""
        while True:
            self._health.beat()
            if self._agents.keeper.joined:
                self._health.met("group")
            else:
                self._health.unmet("group", "not joined, or being rebalanced")
            for topic, count in self._agents.in_flight().items():
                metrics.IN_FLIGHT.labels(topic).set(count)
            await asyncio.sleep(BEAT_S)

    def close(self) -> None:
        """Disconnect."""
        self._watch.close()

    def _stands(self, found: Look) -> str:
        """Partitions that are ours, or any while we own none, stand still; not while something is waited for."""
        if self._agents.processor.waiting:
            return ""
        ours = self._agents.keeper.owned
        stuck = {place for place in found.stuck if not ours or place[1] in ours}
        return standing(stuck) if stuck else ""

    def _topics_changed(self, now: dict[str, Topic]) -> str:
        """Why the process has to start again: the topics are others; what can be waited for is, and said."""
        counts = {topic: each.partitions for topic, each in now.items()}
        gone = [topic for topic, count in counts.items() if not count]
        fewer = [topic for topic, count in counts.items() if 0 < count < self._partitions]
        if gone or fewer:
            return self._unfit(
                f"gone: {', '.join(gone + fewer)}: made anew with {self._partitions} partitions they go on"
            )
        recreated = [topic for topic, each in now.items() if each.id != self._ids[topic]]
        if recreated:
            return f"deleted and made again: {', '.join(recreated)}: ending, to be started again and read it from the start"
        if set(counts.values()) == {self._partitions}:
            self._health.met("topics")
            return ""
        listed = ", ".join(f"{topic} {count}" for topic, count in counts.items())
        if len(set(counts.values())) > 1:
            return self._unfit(f"partitions were added: {listed}; those added are read once all inputs have as many")
        return f"partitions were added: {listed}: ending, to be started again with them"

    def _unfit(self, why: str) -> str:
        """Said once, and as long as it lasts at the readiness; the process goes on with what it has."""
        if self._health.unmet("topics", why):
            _log.error("%s", why)
        return ""
