"""What is asked to read: a critic that played its world, critics that learned the same rewards without words, an adapter taught by the first."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.learning.play import play
from benchmarks.learning.production import Production
from benchmarks.telling import say
from benchmarks.text.lifts import WORDLESS, without_words
from benchmarks.worlds.deliveries import Acted
from benchmarks.worlds.world import World
from model import adapter
from model.critic import Critic
from model.distil import Distiller, drawn
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.memory import Replayed
from services.records import Record
from services.settings import UpdaterSettings, load
from services.updater_learning import Learning
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest
from streaming.contracts.topics import REWARDS

SLOT = adapter.TRAINING_SLOT
REFIT_EVERY = 1000
"""Rewards between two refits of the critics on ids, once many have been learned: they serve nobody on the way."""
TOLD_EVERY = 50
SLOT_PREFIX = "slot."


class Learned(NamedTuple):
    """After some interactions.

    Args:
        critic: that played.
        wordless: by what they saw of products (`WORDLESS`), critics that learned the same rewards without a word of any.
        replay: the decisions that a LoRA would replay.
        rewards: closed rewards that the critic had learned.
    """

    critic: Critic
    wordless: dict[str, Critic]
    replay: tuple[Replayed, ...]
    rewards: int


class Watched:
    """The critic arm, and the rewards that it was told."""

    def __init__(self, arm: Production) -> None:
        """Nothing told so far."""
        self.arm, self.rewards = arm, list[Reward]()

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """The arm's."""
        return self.arm.decide(requests, grids)

    def learn(self, reward: Reward) -> None:
        """The arm's, and kept."""
        self.rewards.append(reward)
        self.arm.learn(reward)

    def turn(self, number: int) -> None:
        """The arm's."""
        self.arm.turn(number)


def played(world: World, count: int) -> Learned:
    """Play the critic arm for `count` interactions."""
    watched = Watched(Production("critic", world))
    for block in play(world, watched, count):
        say(f"seed {world.seed}: critic, block {block.block}, lift {block.lift:.3f}")
    learning = watched.arm.learning
    wordless = {seen: taught(world, watched.rewards, seen) for seen in WORDLESS}
    return Learned(watched.arm.critic, wordless, tuple(learning.replay), learning.learner.learned)


def taught(world: World, rewards: Sequence[Reward], seen: str) -> Critic:
    """A critic that learned the same rewards in the same order, without a word of any product; `seen` of `WORDLESS`."""
    settings = load(UpdaterSettings, {}, seed=world.seed, refit_every=REFIT_EVERY)
    learning = Learning.fresh(settings, world.formula)
    for offset, reward in enumerate(rewards):
        bare = msgspec.structs.replace(reward, request=without_words(reward.request, seen))
        learning.take(Record(REWARDS.name, 0, offset, None, msgspec.json.encode(bare), offset))
    learning.learner.refit()
    return learning.learner.snapshot()


def distilled(
    learned: Learned, seed: int, steps: int, rate: float | None = None, at: Path | None = None
) -> LanguageModel:
    """The base that ships with the critic taught to the adapter in `SLOT`, by the product's recipe on a buffer that fills.

    Args:
        learned: the critic and its decisions.
        seed: of the adapter's random half and of the batches.
        steps: of the LoRA.
        rate: of learning, the same for all steps; None: the product's.
        at: where the adapter is kept: read if it lies there, else put there.
    """
    lm = LanguageModel.load(device="cpu")
    adapter.attach(lm, (SLOT,), seed=seed)
    if at is not None and at.is_dir():
        adapter.place(lm, SLOT, adapter.read(at, adapter.expected(lm, SLOT)))
        return lm
    begun = at.with_name(f"{at.name}.begun") if at else None
    adapter.place(lm, SLOT, _steps(lm, learned, seed, steps, rate, begun))
    if at is not None and begun is not None:
        partial = at.with_name(f".{at.name}.partial")
        adapter.save(lm, SLOT, partial)
        partial.replace(at)
        begun.unlink(missing_ok=True)
    return lm


def _steps(
    lm: LanguageModel, learned: Learned, seed: int, steps: int, rate: float | None, begun: Path | None
) -> dict[str, Tensor]:
    """The averaged adapter after all steps; `begun` holds the state of a run that was interrupted, at most `TOLD_EVERY` steps old."""
    batch, distiller = load(UpdaterSettings, {}).batch, Distiller(lm, SLOT, None if rate is None else lambda _: rate)
    if begun is not None and begun.is_file():
        state = load_file(begun)
        adapter.place(lm, SLOT, {key: state.pop(SLOT_PREFIX + key) for key in adapter.parameters(lm, SLOT)})
        distiller.restore(state)
    losses = list[float]()
    while distiller.steps < steps:
        filled = max(batch, len(learned.replay) * (distiller.steps + 1) // steps)
        rng = np.random.default_rng((seed, distiller.steps))
        places = drawn(min(filled, len(learned.replay)), batch, rng)
        losses.append(distiller.step([learned.replay[place] for place in places], learned.critic))
        if distiller.steps % TOLD_EVERY == 0 or distiller.steps == steps:
            kl = np.mean(losses[-TOLD_EVERY:])
            say(f"seed {seed}: LoRA step {distiller.steps} of {steps}, KL {kl:.3f} nats a slot")
            if begun is not None:
                _save(lm, distiller, begun)
    return distiller.averaged()


def _save(lm: LanguageModel, distiller: Distiller, begun: Path) -> None:
    own = {SLOT_PREFIX + key: each.detach().clone() for key, each in adapter.parameters(lm, SLOT).items()}
    partial = begun.with_name(f".{begun.name}.partial")
    save_file(own | distiller.state(), partial)
    partial.replace(begun)


class _Facts(msgspec.Struct, frozen=True):
    rewards: int
    replay: tuple[Replayed, ...]


def place_of(folder: Path, world: World, count: int) -> Path:
    """Where a seed's run lies in a folder."""
    return folder / f"seed-{world.seed:04d}-{count}"


def kept(folder: Path, world: World, count: int) -> Learned:
    """What was played before and lies in a folder, or is played now and put there. Whoever changes the code gives another folder."""
    at = place_of(folder, world, count)
    if not at.is_dir():
        learned = played(world, count)
        partial = at.with_name(f".{at.name}.partial")
        for name, critic in {"critic": learned.critic, **learned.wordless}.items():
            critic.save(partial / name)
        (partial / "replay.json").write_bytes(msgspec.json.encode(_Facts(learned.rewards, learned.replay)))
        partial.replace(at)
    critic, *others = (Critic.load(at / name, world.formula) for name in ("critic", *WORDLESS))
    facts = msgspec.json.decode((at / "replay.json").read_bytes(), type=_Facts)
    return Learned(critic, dict(zip(WORDLESS, others, strict=True)), facts.replay, facts.rewards)
