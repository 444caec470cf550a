"""The updater learns kinds that nobody told it of, refuses what contradicts them, and keeps them in its snapshots."""

import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from model.critic import Critic
from model.grid import ActionGrid
from model.library import answered
from model.policy import Knobs, decide
from services.records import Record
from services.settings import UpdaterSettings
from services.updater_learning import Learning
from services.updater_state import REPLAY, UpdaterFacts, load_learning, save_learning
from streaming.contracts.codec import encode
from streaming.contracts.errors import BadEvent
from streaming.contracts.rewards import Outcomes, Reward
from streaming.reward import Formula
from tests.model.declared import DECLARED, declared_request

FORMULA = Formula()
KNOBS = Knobs("none", "none", 1.0, 0.0)


def reward_of(name: str, seed: int) -> Reward:
    """A critic's decision that was clicked."""
    request, critic = declared_request(name, seed), Critic.prior(1, 2, FORMULA)
    [said] = decide([request], [ActionGrid.of(request)], critic, None, [np.random.default_rng(seed)], KNOBS)
    outcomes = Outcomes("USD", shown=True, clicked=True)
    return answered(request, said, outcomes, FORMULA.of_outcomes(said.decision, name, "final", outcomes))


def record(offset: int, value: bytes) -> Record:
    """As read from the topic of rewards."""
    return Record("strategy.rewards", 0, offset, b"k", value, 1_780_000_000_000)


def test_rewards_of_declared_kinds_are_learned_and_kept(tmp_path: Path) -> None:
    """Each teaches critic and buffer; a snapshot brings both back with their grammars."""
    settings = UpdaterSettings(home=tmp_path, heads=2)
    learning = Learning.fresh(settings, FORMULA)
    for offset, name in enumerate(DECLARED):
        learned = learning.take(record(offset, encode(reward_of(name, offset))))
        assert learned.lesson is not None
        assert learned.lesson.fate == "learned"
    save_learning(learning, UpdaterFacts("strategy.rewards", len(DECLARED), 1), tmp_path)
    again, _ = load_learning(tmp_path, settings, FORMULA)
    assert list(again.replay) == list(learning.replay)
    assert {item.request.kind: item.request.grammar for item in again.replay} == DECLARED
    assert set(again.learner.kinds) == set(DECLARED)


def test_a_buffer_of_earlier_code_is_read_and_one_of_later_code_is_said(tmp_path: Path) -> None:
    """Without what a response knows: taken up. With more than is known here: refused by its name, so that learning starts anew."""
    settings = UpdaterSettings(home=tmp_path, heads=2)
    learning = Learning.fresh(settings, FORMULA)
    learning.take(record(0, encode(reward_of("headline", 1))))
    save_learning(learning, UpdaterFacts("strategy.rewards", 1, 1), tmp_path)
    (item,) = learning.replay
    (tmp_path / REPLAY).write_bytes(zlib.compress(msgspec.msgpack.encode([item[:8]])))
    assert list(load_learning(tmp_path, settings, FORMULA)[0].replay) == [item._replace(shown=None, clicked=False)]
    (tmp_path / REPLAY).write_bytes(zlib.compress(msgspec.msgpack.encode([(*item, "more")])))
    with pytest.raises(BadEvent, match=REPLAY):
        load_learning(tmp_path, settings, FORMULA)


def test_a_reward_that_its_grammar_does_not_allow_is_a_letter(tmp_path: Path) -> None:
    """A value that the kind has not, and a kind without its grammar: by field, and learning goes on."""
    learning = Learning.fresh(UpdaterSettings(home=tmp_path, heads=2), FORMULA)
    tree = msgspec.json.decode(encode(reward_of("headline", 1)))
    del tree["request"]["grammar"]
    other = msgspec.structs.replace(reward_of("headline", 2), decision={"headline": "Buy, buy, buy"})
    for offset, (value, field) in enumerate([(msgspec.json.encode(tree), "request.kind"), (encode(other), "decision")]):
        letter = learning.take(record(offset, value)).letter
        assert letter is not None
        assert dict(letter.headers)["field"].decode().removeprefix("$.") == field
    assert learning.take(record(2, encode(reward_of("headline", 3)))).lesson is not None
