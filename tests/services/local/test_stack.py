"""The embedded stack as a whole: it answers, survives, forgets, and goes when we go."""

import asyncio
import os
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiokafka
import pytest
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from services.local import broker as broker_module
from services.local import stack as stack_module
from services.local.broker import Broker, new_cluster_id, pick_free_ports
from services.local.process import MissingPart, ProcessDied
from services.local.stack import Endpoints, LocalStack

ROOT = Path(__file__).parents[3]
TIMEOUT_MS = 30_000
PAYLOAD = b"the same words again and again, " * 20


def silent(_message: str) -> None:
    """Show no progress."""


def create_topic(bootstrap: str, topic: str, compression: str = "producer") -> None:
    """Create a topic of one partition."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"compression.type": compression})])
    finally:
        admin.close()


def publish(bootstrap: str, topic: str, value: bytes, **options: object) -> None:
    """Publish one record and wait for its acknowledgement."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, max_request_size=7_000_000, **options)
    try:
        producer.send(topic, value, key=b"k").get(TIMEOUT_MS / 1000)
    finally:
        producer.close()


def read_one(bootstrap: str, topic: str) -> bytes:
    """Return the first record of a topic's only partition."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=7_000_000
    )
    try:
        consumer.assign([TopicPartition(topic, 0)])
        batches = consumer.poll(timeout_ms=TIMEOUT_MS)
    finally:
        consumer.close()
    value: bytes = next(record.value for records in batches.values() for record in records)
    return value


async def read_one_async(bootstrap: str, topic: str) -> bytes | None:
    """Return the first record of a topic's only partition, by the client that the agents use."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([aiokafka.TopicPartition(topic, 0)])
        value: bytes | None = (await consumer.getone()).value
    finally:
        await consumer.stop()
    return value


@pytest.mark.parametrize("compression", ["gzip", "lz4", "zstd", "snappy"])
def test_every_compression_is_read_by_both_clients(stack: Endpoints, topic_prefix: str, compression: str) -> None:
    """A record compressed by its producer or by its topic is read back by kafka-python and by aiokafka."""
    by_producer, by_topic = topic_prefix + "by-producer", topic_prefix + "by-topic"
    create_topic(stack.kafka_bootstrap, by_producer)
    create_topic(stack.kafka_bootstrap, by_topic, compression)
    publish(stack.kafka_bootstrap, by_producer, PAYLOAD, compression_type=compression)
    publish(stack.kafka_bootstrap, by_topic, PAYLOAD)
    for topic in (by_producer, by_topic):
        assert read_one(stack.kafka_bootstrap, topic) == PAYLOAD
        assert asyncio.run(read_one_async(stack.kafka_bootstrap, topic)) == PAYLOAD


def test_a_record_of_five_megabytes_passes(stack: Endpoints, topic_prefix: str) -> None:
    """A 5 MB value goes there and back, so that a poisonous one can be dead-lettered."""
    topic = topic_prefix + "large"
    create_topic(stack.kafka_bootstrap, topic)
    value = os.urandom(5_000_000)
    publish(stack.kafka_bootstrap, topic, value)
    assert read_one(stack.kafka_bootstrap, topic) == value


def test_each_test_has_its_own_redis_database(redis_url: str) -> None:
    """The fixture's database is empty and takes writes."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("k", "v")
        assert client.get("k") == b"v"


def test_data_is_kept_or_fresh(tmp_path: Path, stratagem_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start finds what the first stored, with the same settings; a fresh one finds nothing."""
    cache = stratagem_home / "cache"
    with LocalStack(tmp_path / "s", fresh=True, progress=silent, cache=cache) as first:
        create_topic(first.endpoints.kafka_bootstrap, "kept")
        publish(first.endpoints.kafka_bootstrap, "kept", b"still here")
        redis.Redis.from_url(first.endpoints.redis_url).set("kept", "still here")
    with LocalStack(tmp_path / "s", fresh=False, progress=silent, cache=cache) as second:
        assert read_one(second.endpoints.kafka_bootstrap, "kept") == b"still here"
        assert redis.Redis.from_url(second.endpoints.redis_url).get("kept") == b"still here"
        monkeypatch.setattr(stack_module, "PREVIOUS_STOP_S", 0.1)
        with pytest.raises(MissingPart, match="another stack is running"):
            LocalStack(tmp_path / "s", fresh=True, progress=silent, cache=cache).__enter__()
        second.check()
    with LocalStack(tmp_path / "s", fresh=True, progress=silent, cache=cache) as third:
        admin = KafkaAdminClient(bootstrap_servers=third.endpoints.kafka_bootstrap)
        assert "kept" not in admin.list_topics()
        admin.close()
        assert redis.Redis.from_url(third.endpoints.redis_url).dbsize() == 0


def test_a_taken_port_is_replaced_and_a_crash_is_seen(tmp_path: Path, stratagem_home: Path) -> None:
    """Kafka starts on other ports when one was taken meanwhile; killed, it is reported with its log."""
    said: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        choices = iter([(taken.getsockname()[1], pick_free_ports()[1])])
        broker = Broker(
            tmp_path,
            cache=stratagem_home / "cache",
            progress=said.append,
            pick_ports=lambda: next(choices, None) or pick_free_ports(),
        )
    try:
        assert any("taken meanwhile" in message for message in said)
        broker.process.check()
        os.kill(broker.process.pid, signal.SIGKILL)
        broker.process.wait(30)
        with pytest.raises(ProcessDied, match=r"kafka died .*kafka\.log"):
            broker.process.check()
    finally:
        broker.stop()


def test_a_broker_that_cannot_start_says_why(
    tmp_path: Path, stratagem_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that dies while starting raises at once, with the reason from its log."""
    monkeypatch.setattr(broker_module, "HEAP", "1k")
    with pytest.raises(ProcessDied, match="heap"):
        Broker(tmp_path, cache=stratagem_home / "cache", progress=silent)


def test_cluster_ids_are_no_options() -> None:
    """A cluster id has the form that Kafka wants and never looks like an option of its tool."""
    for _ in range(1000):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{21}", new_cluster_id())


def test_killing_the_parent_stops_both(tmp_path: Path, stratagem_home: Path) -> None:
    """When the process that runs a stack is killed with SIGKILL, Kafka and Redis end."""
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from services.local.stack import LocalStack
with LocalStack(Path({str(tmp_path / "s")!r}), fresh=True, progress=lambda m: None,
                cache=Path({str(stratagem_home / "cache")!r})) as stack:
    print(stack.broker.process.pid, stack.database.process.pid, flush=True)
    time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        descriptors = [os.pidfd_open(pid) for pid in pids]
        parent.kill()
        parent.wait()
    for descriptor in descriptors:  # readable when its process has ended
        assert select.select([descriptor], [], [], 30.0)[0]
        os.close(descriptor)
