"""Updater and worker together on the real Kafka: rewards become critics and adapters, and strategies name them."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import structs

from benchmarks.simulated import reward_of
from model.lm import LanguageModel
from services.local.stack import Endpoints
from services.settings import WorkerSettings
from services.worker import Worker
from streaming.contracts.adapters import BASE_ALONE, Version
from streaming.contracts.ids import reward_id
from streaming.contracts.kinds import Arm
from streaming.contracts.rewards import Outcomes, Reward
from streaming.contracts.strategies import Strategy
from tests.model.sample import request_of
from tests.services import updater_samples, worker_samples
from tests.services.worker_samples import patient

ARMS: tuple[Arm, ...] = ("fused", "lm", "critic", "random")
ROUND = 24
"""Requests asked, answered and rewarded before the next are."""
MOST_ROUNDS = 40


class Shop:
    """Both services, and a shop whose customers click on one tone."""

    def __init__(self, stack: Endpoints, redis_url: str, topic_prefix: str, folder: Path) -> None:
        """One installation for both: topics, registry, base."""
        quick = updater_samples.quick_settings(stack, topic_prefix, folder)
        self.learner = updater_samples.Bench(
            structs.replace(quick, refit_every=20, train_every=8, candidate_every_steps=4)
        )
        self.worker_bench = worker_samples.Bench(
            WorkerSettings(
                home=quick.home,
                kafka_bootstrap=stack.kafka_bootstrap,
                redis_url=redis_url,
                topic_prefix=topic_prefix,
                group_prefix=topic_prefix,
                base_model=quick.base_model,
                device="cpu",
                batch_size=ROUND,
            )
        )
        self.asked = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Both services run within the block, and end cleanly."""
        stop, codes = threading.Event(), list[int]()
        settings = self.worker_bench.settings
        worker = Worker(settings, LanguageModel.load(settings.base_model, "cpu"), stop)
        thread = threading.Thread(target=lambda: codes.append(worker.run()))
        with self.learner.running():
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join(worker_samples.PATIENCE_S)
        assert codes == [0]

    def round(self) -> list[Strategy]:
        """Ask, wait for the answers, say what they brought; the answers of this round."""
        for seed in range(self.asked, self.asked + ROUND):
            self.worker_bench.ask(patient(request_of(seed, candidates=3, arm=ARMS[seed % 4])))
        answers = self.worker_bench.strategies(self.asked + ROUND)
        new = [one for one in answers if int(one.user_id.removeprefix("user-")) >= self.asked]
        self.asked += ROUND
        self.learner.say([_reward(one) for one in new])
        return new

    def close(self) -> None:
        """Let go of Kafka."""
        self.learner.close()
        self.worker_bench.close()


def _reward(strategy: Strategy) -> Reward:
    """A final reward as attribution would close it, of the strategy as it is on the topic."""
    clicked = strategy.decision["tone"] == "urgent"
    outcomes = Outcomes("USD", shown=True, clicked=clicked)
    said = reward_of(strategy.request, strategy.decision, outcomes, strategy.propensity, 0.05 * clicked)
    return structs.replace(
        said,
        strategy_id=strategy.strategy_id,
        reward_id=reward_id(strategy.strategy_id, "final"),
        assigned_arm=strategy.policy.assigned_arm,
        acting_arm=strategy.policy.acting_arm,
        policy=strategy.policy,
        slot_propensities=strategy.slot_propensities,
    )


@pytest.fixture
def shop(stack: Endpoints, redis_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[Shop]:
    """An installation of the test's own."""
    made = Shop(stack, redis_url, topic_prefix, tmp_path)
    yield made
    made.close()


def critics(strategies: Sequence[Strategy]) -> set[str]:
    """Names of the critics that took part."""
    return {one.policy.critic for one in strategies if one.policy.critic_weight}


def test_what_the_updater_learns_is_what_the_worker_serves(shop: Shop) -> None:
    """Rewards of served strategies make new critics, then an adapter through the gate; later strategies name both."""
    answers: list[Strategy] = []
    adapters: set[str] = set()
    with shop.open():
        for _ in range(MOST_ROUNDS):
            answers += shop.round()
            adapters = {one.policy.adapter for one in answers} - {BASE_ALONE}
            if adapters and len(critics(answers)) >= 3:
                break
    assert adapters, "no strategy named an adapter"
    assert len({one.strategy_id for one in answers}) == len(answers) == shop.asked
    announced = {record.name: record for record in shop.learner.announced() if isinstance(record, Version)}
    assert {announced[name].what for name in adapters} == {"adapter"}
    learned = [name for name in critics(answers) if name in announced and announced[name].metrics]
    assert len(learned) >= 2, "no strategy named a critic that had learned"
    decisions = {one.version: one for one in shop.learner.decisions()}
    for name in adapters:
        assert decisions[name].decision == "promoted"
        assert decisions[name].numbers["parity_rows"] > 0
        assert decisions[name].numbers["parity_max"] <= 1e-4
    served = [one for one in answers if one.policy.adapter in adapters and one.policy.acting_arm == "fused"]
    assert all(one.policy.lm_weight == announced[one.policy.adapter].lm_weight for one in served)
