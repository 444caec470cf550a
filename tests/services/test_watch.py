"""A consumer is watched from outside, on a real Kafka: its lag, whether it moves, what its topics are."""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from services.clients import admin, group_consumer, producer, topic_name
from services.health import Health
from services.liveness import Look, Watch
from services.local.broker import pick_free_ports
from services.local.stack import Endpoints
from services.metrics import REGISTRY
from services.settings import WorkerSettings
from services.topics import Topic, check_topics, topics_now
from services.watchdog import Watchdog, guarded
from streaming.contracts.topics import REQUESTS, REWARDS, TopicSpec
from tests.installation import installation

GROUP = "watched"
AGE_S = 500.0


@pytest.fixture
def settings(stack: Endpoints, redis_url: str, topic_prefix: str, tmp_path: Path) -> WorkerSettings:
    """An installation whose topics exist, with three requests of some age in partition 0."""
    made = installation(WorkerSettings, stack, topic_prefix, tmp_path, redis_url=redis_url)
    check_topics(made)
    sender = producer(made)
    for index in range(3):
        at_ms = round((time.time() - AGE_S + 100 * index) * 1000)
        sender.send(topic_name(made, REQUESTS), value=b"x", partition=0, timestamp_ms=at_ms)
    sender.close()
    return made


def watching(settings: WorkerSettings, health: Health, topic: TopicSpec = REQUESTS, patience_s: float = 60.0) -> Watch:
    """A watch over the group."""
    group = settings.group_prefix + GROUP
    return Watch(
        settings, "test", [topic], group=group, applied=lambda _t, _p: None, health=health, patience_s=patience_s
    )


def first_look(watch: Watch) -> Look:
    """The first one; a fresh broker needs a while to find who coordinates a group."""
    give_up_s = time.monotonic() + 60
    while (found := watch.look(waiting=False)) is None:
        assert time.monotonic() < give_up_s
    return found


def commit(settings: WorkerSettings, offset: int) -> None:
    """The group has applied so many."""
    consumer = group_consumer(settings, GROUP, [])
    place = TopicPartition(topic_name(settings, REQUESTS), 0)
    consumer.assign([place])
    consumer.commit({place: OffsetAndMetadata(offset, "", -1)})
    consumer.close()


class Reader:
    """Who reads, as far as the watchdog asks."""

    def __init__(self, topic: Topic | None) -> None:
        """It began with this topic."""
        self.topic, self.owned = topic, {0}


def over(watch: Watch, health: Health, stop: Event, began: Topic | None = None, spec: TopicSpec = REQUESTS) -> Watchdog:
    """A watchdog that asks the loop to end by an event."""
    return Watchdog(watch, health, spec, Reader(began), waiting=lambda: False, end=stop.set)


def until(true: Callable[[], bool]) -> None:
    """Wait for something."""
    give_up_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < give_up_s
        time.sleep(0.1)


def lag_s() -> float:
    """As exported."""
    found = REGISTRY.get_sample_value("stratagem_lag_seconds", {"service": "test", "topic": REQUESTS.name})
    assert found is not None
    return found


def test_the_lag_is_the_age_of_the_oldest_record_that_was_not_applied(settings: WorkerSettings) -> None:
    """Not of the last applied one, and nothing once all are applied."""
    health = Health("kafka", "redis")
    watch = watching(settings, health)
    found = first_look(watch)
    assert found.ends == {(REQUESTS.name, 0): 3, (REQUESTS.name, 1): 0}
    assert found.topics[REQUESTS.name].id == check_topics(settings).ids[REQUESTS.name]
    assert found.topics[REQUESTS.name].partitions == 2
    assert AGE_S <= lag_s() < AGE_S + 90
    assert health.missing() == []
    commit(settings, 2)
    watch.look(waiting=False)
    assert AGE_S - 200 <= lag_s() < AGE_S - 110
    commit(settings, 3)
    watch.look(waiting=False)
    assert lag_s() == 0.0
    watch.close()


def test_a_group_that_does_not_move_is_stuck_unless_something_is_waited_for(settings: WorkerSettings) -> None:
    """By the partition that has records."""
    watch = watching(settings, Health(), patience_s=0.0)
    first_look(watch)
    time.sleep(0.01)
    found = watch.look(waiting=False)
    assert found is not None
    assert found.stuck == {(REQUESTS.name, 0)}
    watch.look(waiting=True)
    found = watch.look(waiting=False)  # the patience begins anew
    assert found is not None
    assert found.stuck == set()
    watch.close()


def test_where_kafka_is_away_the_lag_grows_and_readiness_says_so(settings: WorkerSettings) -> None:
    """The same watch, whose broker is gone from one look to the next."""
    health = Health("kafka")
    watch = watching(settings, health)
    first_look(watch)
    before_s = lag_s()
    watch.close()
    nobody = f"127.0.0.1:{pick_free_ports()[0]}"
    watch._settings = type(settings)(
        **{name: getattr(settings, name) for name in settings.__struct_fields__} | {"kafka_bootstrap": nobody}
    )
    assert watch.look(waiting=False) is None
    assert health.missing() == ["kafka: does not answer"]
    assert lag_s() > before_s
    watch.close()
    gc.collect()  # here, where what is left open may be seen


def test_a_redis_that_is_away_or_evicts_is_not_ready(settings: WorkerSettings, tmp_path: Path) -> None:
    """In words."""
    health = Health("redis")
    away = type(settings)(
        **{name: getattr(settings, name) for name in settings.__struct_fields__}
        | {"redis_url": f"unix://{tmp_path}/nobody.sock"}
    )
    watch = watching(away, health)
    watch.look(waiting=False)
    assert health.missing()[0].startswith("redis: does not answer: ")
    watch.close()


def test_a_loop_whose_work_stands_still_is_ended(settings: WorkerSettings, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked to end, and the process's code says that it was no clean stop."""
    health, stop = Health(), Event()
    watchdog = over(watching(settings, health, patience_s=-1.0), health, stop)
    assert guarded(lambda: assert_ended(stop), watchdog) == 1
    assert health.illness().startswith(f"nothing was applied of {REQUESTS.name} 0")
    assert "ending, to be started again" in caplog.text


def assert_ended(stop: Event) -> None:
    """A loop that does nothing but wait to be ended."""
    assert stop.wait(60)


def test_a_clean_stop_is_no_failure(settings: WorkerSettings) -> None:
    """Code 0 while the work moves."""
    health = Health()
    assert guarded(lambda: None, over(watching(settings, health), health, Event())) == 0


def test_a_topic_that_is_gone_is_waited_for_and_one_made_anew_ends_the_loop(
    settings: WorkerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Not ready, in words, as long as it is gone; then another id, and an end that a supervisor answers by a start."""
    health, stop = Health(), Event()
    watchdog = over(watching(settings, health), health, stop, topics_now(settings, REQUESTS)[0])
    client = admin(settings)
    client.delete_topics([topic_name(settings, REQUESTS)])
    gone = f"topics: {REQUESTS.name} is gone: made anew it is read from its start"
    watchdog.start()
    until(lambda: gone in health.missing())
    assert not stop.is_set()
    until(lambda: topic_name(settings, REQUESTS) not in client.list_topics())
    client.close()
    check_topics(settings)
    assert stop.wait(60)
    watchdog.close()
    assert watchdog.stuck
    assert f"{REQUESTS.name} was deleted and made again: ending, to be started again" in caplog.text


def test_partitions_that_must_not_be_are_said(settings: WorkerSettings) -> None:
    """Two where the order is the topic's: not ready, in words, and the loop goes on."""
    health, stop = Health(), Event()
    watch = watching(settings, health, REWARDS)
    watchdog = over(watch, health, stop, topics_now(settings, REWARDS)[0], REWARDS)
    client = admin(settings)
    client.create_partitions({topic_name(settings, REWARDS): 2})
    client.close()
    watchdog.start()
    until(lambda: bool(health.missing()))
    watchdog.close()
    assert health.missing() == [f"topics: {REWARDS.name} has 2 partitions, wanted 1: nothing is read of the others"]
    assert not stop.is_set()
