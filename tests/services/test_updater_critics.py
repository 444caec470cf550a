"""What a new life of the updater makes of the critic that is served."""

from pathlib import Path

import pytest

from model.critic import Critic
from services.records import Record
from services.settings import UpdaterSettings
from services.updater_critics import Owing, taken_up
from services.updater_learning import Learning
from streaming.contracts.codec import encode
from streaming.contracts.topics import REWARDS
from streaming.reward import Formula
from tests.model.closed import closed_rewards

SETTINGS = UpdaterSettings(home=Path("unused"), heads=2)


def learned(count: int) -> Learning:
    """A learner that knows so many rewards."""
    learning = Learning.fresh(SETTINGS, Formula())
    for offset, reward in enumerate(closed_rewards(60)[:count]):
        learning.take(Record(REWARDS.name, 0, offset, None, encode(reward), 0))
    return learning


def owing() -> Owing:
    """A new life that has found a critic served."""
    made = Owing()
    made.resumed = True
    return made


def test_what_is_served_is_the_predecessor() -> None:
    """Unless it cannot be had, or has another number of heads."""
    own, served = learned(0).learner.snapshot(), learned(60).learner.snapshot()
    assert taken_up(served, own) is served
    assert taken_up(None, own) is own
    assert taken_up(Critic.prior(0, 8, Formula()), own) is own


@pytest.mark.parametrize(("knows", "served", "expected"), [(60, 60, False), (60, 20, True), (20, 60, False)])
def test_what_was_learned_and_not_said_is_owed(knows: int, served: int, *, expected: bool) -> None:
    """Owed where the learner knows more than what is served; not where they agree, nor where it knows less."""
    assert owing().owed(learned(knows), learned(served).learner.snapshot()) is expected


def test_it_is_owed_once_and_after_catching_up() -> None:
    """A learner restored from before what is served is asked again once it knows as much; a first life owes nothing."""
    once, served = owing(), learned(40).learner.snapshot()
    assert not once.owed(learned(20), served)
    assert once.owed(learned(60), served)
    assert not once.owed(learned(60), served)
    assert not Owing().owed(learned(60), served)
