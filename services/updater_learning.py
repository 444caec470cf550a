"""What the updater knows: the critic's learner, the replay buffer, the offset they include. No Kafka, no clock.

Records are learned in the topic's order; what a record does depends on nothing else, so that a restart from a snapshot ends
where an undisturbed run does.
"""

import math

import msgspec

from model.formula import RewardFormula
from model.grid import ActionGrid
from model.learner import CriticLearner
from model.lessons import LearnerKnobs, Lesson
from model.memory import Replay
from services.records import Record
from services.settings import UpdaterSettings
from streaming.contracts.codec import decode
from streaming.contracts.errors import BadEvent
from streaming.contracts.rewards import Reward
from streaming.dead_letters import refused, tripped
from streaming.effects import Publish


class Learned(msgspec.Struct, frozen=True):
    """What one record did: a lesson, a dead letter, or nothing (an empty value)."""

    reward: Reward | None = None
    lesson: Lesson | None = None
    letter: Publish | None = None


def knobs_of(settings: UpdaterSettings) -> LearnerKnobs:
    """The learner's part of the settings."""
    return LearnerKnobs(
        window=settings.window,
        refit_every=settings.refit_every,
        half_life=settings.half_life,
        heads=settings.heads,
        beta=settings.beta,
        head_width=settings.head_width,
        outage_after=settings.outage_after,
        seed=settings.seed,
    )


class Learning:
    """State that a snapshot holds."""

    def __init__(self, learner: CriticLearner, replay: Replay, next_offset: int = 0) -> None:
        """Continue from here; `next_offset` is the first record not learned yet."""
        self.learner = learner
        self.replay = replay
        self.next_offset = next_offset
        self.unpublished = False

    @classmethod
    def fresh(cls, settings: UpdaterSettings, formula: RewardFormula) -> "Learning":
        """Before the first reward."""
        return cls(CriticLearner(knobs_of(settings), formula), Replay(settings.buffer))

    def take(self, record: Record) -> Learned:
        """Learn one record. Our own bug is tried once more, then dead-lettered: it stops nothing."""
        if record.offset < self.next_offset:
            return Learned()  # read again after a restart
        self.next_offset = record.offset + 1
        if not record.value:
            return Learned()
        try:
            reward = checked(decode(record.value, Reward))
        except BadEvent as error:
            return Learned(letter=refused(record, record.origin, "bad_reward", error))
        try:
            return self._learn(reward)
        except Exception:  # noqa: BLE001 -- tried once more alone, then dead-lettered as a bug
            self.learner.seen.discard(reward.reward_id)
        try:
            return self._learn(reward)
        except Exception as error:  # noqa: BLE001 -- kept as a letter with its traceback, counted and alerted
            return Learned(letter=tripped(record, record.origin, error, "our code to learn from it"))

    def _learn(self, reward: Reward) -> Learned:
        lesson = self.learner.learn(reward)
        if lesson.fate in ("learned", "amended"):
            self.replay.learn(reward, self.learner.learned)
        self.unpublished |= lesson.refitted
        return Learned(reward, lesson)


def checked(reward: Reward) -> Reward:
    """The reward, when it can be learned from.

    Raises:
        BadEvent: naming the field: numbers that are not finite, a decision its request does not allow.
    """
    if not math.isfinite(reward.reward):
        raise BadEvent("reward", reward.reward, "a finite number")
    if reward.ghost:
        return reward
    if reward.policy is None or reward.propensity is None or reward.propensity <= 0.0:
        raise BadEvent("propensity", reward.propensity, "a probability above 0 and the policy it belongs to")
    grid = ActionGrid.of(reward.request)
    try:
        allowed = bool(grid.allowed[grid.index(reward.decision)])
    except KeyError as error:
        raise BadEvent("decision", str(error), "a value of every slot of the request") from None
    if not allowed:
        raise BadEvent("decision", reward.decision, "an action that the request allows")
    return reward
