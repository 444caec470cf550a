"""Critics of the updater: the next snapshot to serve, and those that served decisions were made by (law 2).

A reward comes long after its decision, perhaps in another life of the updater: the critic that made the decision is then read back
from the registry, while it is announced.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from model.critic import Critic, named
from model.formula import RewardFormula
from model.gate import GateKnobs, Judgement
from model.gate_critic import bounded, examine_critic
from model.registry import Registry
from services.metrics import KAFKA_ERRORS
from services.updater_announcing import SERVICE, Announced
from services.updater_learning import Learning
from streaming.contracts.errors import BadEvent, Unavailable

LOG = logging.getLogger(__name__)

KEPT_IN_MEMORY = 48
"""Critics at hand to recompute what they served; 1.5 MB each, twice that once they were used."""
GATE_EXAMPLES, GATE_REQUESTS = 200, 4
"""Closed rewards and requests that a snapshot is judged on."""

FindCritic = Callable[[str], Critic | None]
"""Name → the snapshot; None when it cannot be had."""


class ServedCritics:
    """Snapshots by name, those used last in memory."""

    def __init__(self, registry: Registry, said: Announced, formula: RewardFormula) -> None:
        """Nothing is read before it is asked for.

        Args:
            registry: where announced versions lie.
            said: what is announced, kept up to date by its owner.
            formula: the reward's arithmetic.
        """
        self._registry, self._said, self._formula = registry, said, formula
        self._kept: OrderedDict[str, Critic] = OrderedDict()
        self._lost: set[str] = set()

    def remember(self, critic: Critic) -> None:
        """Keep a snapshot that is served now."""
        self._kept[critic.version] = critic
        self._kept.move_to_end(critic.version)
        while len(self._kept) > KEPT_IN_MEMORY:
            self._kept.popitem(last=False)

    def find(self, name: str) -> Critic | None:
        """The snapshot of that name, from memory or from the registry; None when it is not to be had (now)."""
        critic = self._kept.get(name) or self._read(name)
        if critic is not None:
            self.remember(critic)
        return critic

    def _read(self, name: str) -> Critic | None:
        version = self._said.versions.get(name)
        if version is None or version.what != "critic" or name in self._lost:
            return None
        try:
            return Critic.load(self._registry.fetch(version), self._formula, name)
        except BadEvent as error:
            self._lost.add(name)  # a version is immutable: it will not get better
            LOG.warning("critic %s cannot be read back: %s", name, error)
        except Unavailable as error:
            KAFKA_ERRORS.labels(SERVICE).inc()
            LOG.warning("critic %s cannot be read back now: %s", name, error)
        return None


def taken_up(served: Critic | None, own: Critic) -> Critic:
    """The predecessor of the next snapshot in a new life: what is served, where it can be had and has our shape."""
    fits = served is not None and all(served.weights[n].shape == row.shape for n, row in own.weights.items())
    return served if served is not None and fits else own


class Owing:
    """Whether what a former life had learned is not served yet: it ended before it said so, or amid the steps towards it."""

    def __init__(self) -> None:
        """Nothing is known of a former life."""
        self.resumed = False

    def owed(self, learning: Learning, served: Critic) -> bool:
        """True once, when a snapshot is owed; a learner that knows less than what is served has to catch up first."""
        learner = learning.learner
        if not self.resumed or learner.learned < served.facts.learned:
            return False
        self.resumed = False
        own = learner.snapshot().weights
        return any(not np.array_equal(own[name], row) for name, row in served.weights.items())


def next_critic(learning: Learning, predecessor: Critic) -> tuple[Critic, Judgement, float]:
    """What has been learned as the next snapshot, judged by its small gate.

    Returns:
        The snapshot under its content's name, the judgement, and the share of the way that its capped step takes, in (0, 1].
    """
    examples = list(learning.learner.window)[-GATE_EXAMPLES:]
    requests = [item.request for item in list(learning.replay)[-GATE_REQUESTS:]]
    knobs = GateKnobs()
    candidate, share = bounded(learning.learner.snapshot(), predecessor, requests, knobs.critic_step_cap)
    candidate = named(candidate, learning.learner.learned)
    return candidate, examine_critic(candidate, predecessor, examples, requests, knobs), share
