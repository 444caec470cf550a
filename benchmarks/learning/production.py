"""The policies that are served, played as production plays them: its decoder, its learner, its adapter training, its gates.

Worker and updater are here without Kafka: the same objects, handed rewards in the topic's order. Two models are loaded, as in production:
the worker's, which a swap copies into, and the updater's.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np
import torch

from benchmarks.worlds.deliveries import Acted
from benchmarks.worlds.world import World
from model import adapter
from model.batch import PromptBatch
from model.critic import Critic
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.policy import Decided, Knobs, decide
from services.deciding import Ready
from services.records import Record
from services.settings import UpdaterSettings, load
from services.updater_critics import next_critic
from services.updater_learning import Learning
from services.updater_training import CANDIDATE_SLOT, Training
from services.worker_serving import Change, Loaded, ServingTable
from streaming.contracts.adapters import BASE_ALONE, Serving
from streaming.contracts.ids import stable_seed
from streaming.contracts.kinds import Arm as ArmName
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest
from streaming.contracts.topics import REWARDS

ACTING: dict[str, ArmName] = {
    "fused": "fused",
    "fused_frozen": "fused",
    "lm": "lm",
    "critic": "critic",
    "frozen": "lm",
}
"""Arm of the benchmark → arm as requests name it."""
TRAINED = ("fused", "fused_frozen", "lm")
"""`fused_frozen` trains too: its base has the share that its adapter would have, and serves without it."""
KEPT_CRITICS = 200
"""Snapshots at hand to recompute what they served."""
RATE_PER_S = 20.0
"""Interactions per second on the gate's clock: the demo's rate."""
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Production:
    """One of `ACTING`."""

    def __init__(self, name: str, world: World, settings: Mapping[str, object] | None = None) -> None:
        """Load what the arm needs: the critic alone needs no language model. `settings`: those that are not the defaults."""
        torch.set_num_threads(1)
        self.settings = load(UpdaterSettings, {}, seed=world.seed, **(settings or {}))
        self._name, self._formula = name, world.formula
        self.learning = Learning.fresh(self.settings, world.formula)
        self.critic = Critic.prior(
            self.settings.seed,
            self.settings.heads,
            world.formula,
            beta=self.settings.beta,
            width=self.settings.head_width,
        )
        self._critics = {self.critic.version: self.critic}
        self._lm: LanguageModel | None = None
        self._prompts: PromptBatch | None = None
        self._table: ServingTable | None = None
        self.training: Training | None = None
        self._offset, self._sequence, self._serial = 0, 0, 0
        self.decisions: list[str] = []
        self.decided: list[Decided] = []
        if name != "critic":
            self._lm = LanguageModel.load()
            adapter.attach(self._lm)
            self._table = ServingTable(self._lm, self.critic)
        if name in TRAINED:
            self.training = Training(LanguageModel.load(), self.settings, self._critics.get)

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """As the worker's answerer does, texts and explanations apart."""
        asked = [msgspec.structs.replace(request, arm=ACTING[self._name]) for request in requests]
        if self._lm is None:
            self.decided = self._critics_alone(asked, grids)
        else:
            self._prompts = self._lm.encode(asked)
            self.decided = self._served(asked, grids, with_adapter=self._name != "fused_frozen")
        return [Acted(one.index, one.propensity, one.record) for one in self.decided]

    def wishes(self, name: str, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Decided]:
        """What another policy would choose of the requests decided last, by the same models with the same draws; it is served to nobody.

        Args:
            name: `critic` or `lm`, either alone as that arm decides, or `without_adapter`, the base in the adapter's place at its share.
        """
        arm = ACTING.get(name, ACTING[self._name])
        asked = [msgspec.structs.replace(request, arm=arm) for request in requests]
        if name == "critic":
            return self._critics_alone(asked, grids)
        return self._served(asked, grids, with_adapter=name != "without_adapter")

    def _critics_alone(self, asked: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Decided]:
        knobs = Knobs("none", "none", self.settings.temperature, 0.0)
        return decide(asked, grids, self.critic, None, self._rngs(asked), knobs)

    def _served(
        self, asked: Sequence[StrategyRequest], grids: Sequence[ActionGrid], *, with_adapter: bool
    ) -> list[Decided]:
        assert self._lm is not None
        assert self._table is not None
        assert self._prompts is not None
        knobs = self._table.knobs(self._table.champion, self.settings.temperature, self.settings.lm_temperature)
        if not with_adapter:
            knobs = msgspec.structs.replace(knobs, adapter=BASE_ALONE)
        slot = self._table.slots.admit(knobs.adapter)
        try:
            with self._lm.use_adapter(slot):
                session = self._lm.session(self._prompts, asked)
                return decide(asked, grids, self._table.critic, session, self._rngs(asked), knobs)
        finally:
            self._table.slots.release(slot)

    def _rngs(self, asked: Sequence[StrategyRequest]) -> list[np.random.Generator]:
        return [np.random.default_rng(stable_seed(one.request_id, str(self.settings.seed))) for one in asked]

    def learn(self, reward: Reward) -> None:
        """Through the updater's door, as bytes."""
        if self._name == "frozen":
            return
        record = Record(REWARDS.name, 0, self._offset, None, msgspec.json.encode(reward), self._offset)
        learned = self.learning.take(record)
        if learned.letter is not None:
            raise RuntimeError(f"a reward was refused: {learned.letter.value!r}")
        self._offset += 1

    def turn(self, number: int) -> None:
        """Publish the critic when it was refitted, then train and judge until nothing is owed."""
        if self.learning.unpublished:
            self._publish()
        if self.training is not None:
            self._train(self.training, number / RATE_PER_S)

    def _publish(self) -> None:
        candidate, judgement, share = next_critic(self.learning, self.critic)
        self.learning.unpublished = share < 1.0
        self.decisions.append(f"critic {judgement.decision}")
        if judgement.decision != "promoted":
            return
        self.critic = candidate
        self._critics[candidate.version] = candidate
        for name in list(self._critics)[:-KEPT_CRITICS]:
            del self._critics[name]
        if self._table is not None:
            self._table.apply(Change(self._serving(self._table.champion), (), Ready(candidate), {}))

    def _train(self, training: Training, now_s: float) -> None:
        while True:
            judgement = training.examine(self.learning, now_s)
            if judgement is not None:
                self.decisions.append(f"adapter {judgement.decision}: {judgement.reason}")
                if judgement.decision == "promoted":
                    self._swap(training)
                else:
                    training.refused(judgement)
            elif training.owed(self.learning):
                training.step(self.learning, self.critic, now_s)
            elif not training.measuring:
                return

    def _swap(self, training: Training) -> None:
        assert training.candidate is not None
        assert self._table is not None
        self._sequence += 1
        version = f"adapter-{self._sequence:06d}"
        block = adapter.block_of(adapter.parameters(training.lm, CANDIDATE_SLOT)).clone()
        loaded = Loaded(version, training.candidate.lm_weight, block)
        training.promoted(version)
        self._table.apply(Change(self._serving(version), (loaded,), None, {}))

    def _serving(self, champion: str) -> Serving:
        self._serial += 1
        return Serving(
            epoch=0,
            sequence=self._serial,
            champion=champion,
            anchor=BASE_ALONE,
            canary="",
            critic=self.critic.version,
            salts={},
            anchor_share=0.0,
            decided_at=_NOW,
        )
