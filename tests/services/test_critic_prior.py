"""A deployment that begins with a prior: the updater announces it first, and the very first strategies follow it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec import structs

from model.critic import Critic, content_hash
from model.data.errors import Refused
from model.evaluation.policies import ByCritic
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.prior.believing import Knobs
from model.registry import Registry
from services.cli import main
from services.critic_prior import write
from services.local.stack import Endpoints
from services.settings import UpdaterSettings, WorkerSettings, registry_address
from services.updater_learning import Learning
from services.updater_state import UpdaterFacts, commit, folder_of, newest, partial_folder, restored, save_learning
from services.worker import Worker
from streaming.contracts.adapters import Version
from streaming.contracts.strategies import StrategyRequest
from streaming.reward import Formula
from tests.model.closed import closed_rewards
from tests.model.prior.samples import made
from tests.model.sample import request_of
from tests.services import updater_samples, worker_samples
from tests.services.worker_samples import patient

ASKED = 24


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The small shop's prepared log, whose e-mails are clicked and whose pushes are not, and a run on it."""
    return made(tmp_path_factory.mktemp("prior"))


@pytest.fixture
def bench(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> Iterator[updater_samples.Bench]:
    """An installation of the test's own."""
    found = updater_samples.Bench(updater_samples.quick_settings(stack, topic_prefix, tmp_path))
    yield found
    found.close()


def by_email(critic: Critic, request: StrategyRequest) -> float:
    """The probability that a critic's decision goes by e-mail rather than push."""
    grid = ActionGrid.of(request)
    axis = grid.names.index("channel")
    chances = []
    for value in ("email", "push"):
        place = grid.values[axis].index(value)
        decisions = [grid.decision(index) for index in zip(*np.nonzero(grid.allowed), strict=True) if index[axis] == place]  # fmt: skip
        rewards = [structs.replace(closed_rewards(1)[0], request=request, decision=decision) for decision in decisions]
        judged = ByCritic("", critic).judge(rewards, [np.zeros(grid.shape)] * len(rewards))
        chances.append(float(judged.chance.sum()))
    return chances[0] / sum(chances)


def test_the_first_strategies_follow_the_prior(
    bench: updater_samples.Bench, redis_url: str, topic_prefix: str, shop: tuple[Path, Path]
) -> None:
    """On the real Kafka: the first announced critic is the prior with its lineage, and the worker's first strategies are by it."""
    data, run = shop
    written = write(bench.settings, run, data, None, Knobs(pairs=400, strength=2000), lambda _: None)
    quick = bench.settings
    settings = WorkerSettings(
        home=quick.home, kafka_bootstrap=quick.kafka_bootstrap, redis_url=redis_url, topic_prefix=topic_prefix,
        group_prefix=topic_prefix, base_model=quick.base_model, device="cpu", batch_size=ASKED,
    )  # fmt: skip
    answers, stop = worker_samples.Bench(settings), threading.Event()
    lm = LanguageModel.load(settings.base_model, "cpu")  # before the updater does: two threads may not load at once
    worker = Worker(settings, lm, stop)
    with bench.running() as thread:
        bench.until(lambda: bool(bench.announced()), "the first critic", thread.is_alive)
        serving = threading.Thread(target=worker.run)
        serving.start()
        try:
            for seed in range(ASKED):
                answers.ask(patient(request_of(seed, candidates=3, arm="critic")))
            strategies = answers.strategies(ASKED)
        finally:
            stop.set()
            serving.join(worker_samples.PATIENCE_S)
    first = next(record for record in bench.announced() if isinstance(record, Version))
    said = next(decision for decision in bench.decisions() if decision.version == first.name)
    assert said.checks[0].detail.startswith("prior from run (click by ")
    assert {strategy.policy.critic for strategy in strategies} == {first.name}
    critic = Critic.load(Registry(registry_address(quick), quick.home / "cache").fetch(first), Formula(), first.name)
    assert content_hash(critic) == written.content
    chances = [by_email(critic, strategy.request) for strategy in strategies]
    assert np.mean(chances) > 0.65
    channels = [strategy.decision["channel"] for strategy in strategies]
    assert channels.count("email") > channels.count("push")


def test_the_command_says_what_it_read_and_refuses_what_has_learned(shop: tuple[Path, Path], tmp_path: Path) -> None:
    """Coverage and weight in words; the state is what the updater restores; a home that has learned is left as it is."""
    data, run = shop
    arguments = ["critic-prior", str(run), "--data", str(data), "--pairs", "200"]
    environ = {"STRATAGEM_HOME": str(tmp_path), "STRATAGEM_HEADS": "2"}
    done = CliRunner().invoke(main, arguments, env=environ)
    assert done.exit_code == 0, done.output
    assert "recommendation: 900 of 900 exposures; known of them: product 100%, channel 100%" in done.output
    assert "ad: left out, none of 900 exposures is a ad" in done.output
    settings = UpdaterSettings(home=tmp_path, heads=2)
    learning, facts = restored(settings, Formula())
    assert facts is not None
    assert facts.prior.startswith("prior from run (")
    assert learning.next_offset == learning.learner.learned == 0
    assert len(learning.learner.window) > 200
    assert CliRunner().invoke(main, arguments, env=environ).exit_code == 0  # nothing was learned: made anew
    learning = Learning.fresh(settings, Formula())
    learning.learner.learn(closed_rewards(1)[0])
    partial = partial_folder(folder_of(settings))
    save_learning(learning, UpdaterFacts("strategy.rewards", 1, 9), partial)
    kept = commit(partial, folder_of(settings), 9)
    with pytest.raises(Refused, match="has learned from 1 rewards"):
        write(settings, run, data, None, Knobs(), lambda _: None)
    assert newest(folder_of(settings)) == kept
