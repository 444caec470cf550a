"""A consumer is watched from outside, on a real Kafka: its lag, whether it moves, what its topics are."""

import gc
import time
from pathlib import Path
from threading import Event

import pytest
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from services.clients import group_consumer, producer, topic_name
from services.health import Health
from services.liveness import Look, Watch
from services.local.broker import pick_free_ports
from services.local.stack import Endpoints
from services.metrics import REGISTRY
from services.settings import WorkerSettings
from services.topics import check_topics
from services.watchdog import Watchdog, guarded
from streaming.contracts.topics import REQUESTS, TopicSpec

GROUP = "watched"
AGE_S = 500.0


@pytest.fixture
def settings(stack: Endpoints, redis_url: str, topic_prefix: str, tmp_path: Path) -> WorkerSettings:
    """An installation whose topics exist, with three requests of some age in partition 0."""
    made = WorkerSettings(
        home=tmp_path,
        kafka_bootstrap=stack.kafka_bootstrap,
        redis_url=redis_url,
        topic_prefix=topic_prefix,
        group_prefix=topic_prefix,
        partitions=2,
    )
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


@pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")  # kafka-python's
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
    watchdog = Watchdog(
        watching(settings, health, patience_s=-1.0), health, waiting=lambda: False, owned=lambda: {0}, end=stop.set
    )
    assert guarded(lambda: assert_ended(stop), watchdog) == 1
    assert health.illness().startswith(f"nothing was applied of {REQUESTS.name} 0")
    assert "ending, to be started again" in caplog.text


def assert_ended(stop: Event) -> None:
    """A loop that does nothing but wait to be ended."""
    assert stop.wait(60)


def test_a_clean_stop_is_no_failure(settings: WorkerSettings) -> None:
    """Code 0 while the work moves."""
    health = Health()
    watchdog = Watchdog(watching(settings, health), health, waiting=lambda: False, owned=set, end=lambda: None)
    assert guarded(lambda: None, watchdog) == 0
