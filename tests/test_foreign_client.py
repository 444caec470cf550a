"""A client that imports nothing of ours publishes and consumes by the committed schemas alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from services.local.stack import Endpoints
from streaming.contracts.codec import decode_event, encode
from streaming.contracts.events import Event
from streaming.contracts.partition import partition_of
from tests.streaming.attribution_samples import START_MS, strategy

ROOT = Path(__file__).parents[1]
PARTITIONS = 3

FOREIGN = """
import json, sys
from jsonschema import Draft202012Validator
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

bootstrap, prefix, docs = sys.argv[1:]

def check(topic, value):
    with open(f"{docs}/schemas/{topic}.json", encoding="utf-8") as file:
        Draft202012Validator(json.load(file)).validate(value)

with open(f"{docs}/asyncapi.json", encoding="utf-8") as file:
    channels = json.load(file)["channels"]

consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=30000)
address = prefix + channels["strategies"]["address"]
consumer.assign([TopicPartition(address, p) for p in sorted(consumer.partitions_for_topic(address))])
record = next(iter(consumer))
strategy = json.loads(record.value)
check("strategies", strategy)
consumer.close()

producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
sent = []
for number, (topic, name, properties) in enumerate([
    ("ads.events", "Promotion Viewed", {}),
    ("ads.events", "Promotion Clicked", {}),
    ("shop.events", "Order Completed", {
        "order_id": "o-1", "currency": "USD",
        "products": [{"product_id": strategy["decision"]["product"], "quantity": 1, "price": 4.99}],
    }),
]):
    event = {
        "messageId": f"foreign-{number}", "type": "track", "event": name, "userId": strategy["user_id"],
        "timestamp": strategy["issued_at"], "properties": {**properties, "strategy_id": strategy["strategy_id"]},
    }
    check(topic, event)
    key = strategy["user_id"].encode()
    future = producer.send(prefix + channels[topic]["address"], key=key, value=json.dumps(event).encode())
    sent.append({"topic": topic, "partition": future.get(30).partition, "value": json.dumps(event)})
producer.close()
ours = sorted({name.partition(".")[0] for name in sys.modules} & {"streaming", "model", "services", "tests"})
print(json.dumps({"key": record.key.decode(), "strategy_id": strategy["strategy_id"], "sent": sent, "ours": ours}))
"""
"""The whole program: kafka-python, jsonschema, and the files in `docs/`."""


def test_a_foreign_client_goes_both_ways(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> None:
    """It reads our strategy by the schema and echoes it; our decoder takes all that it writes, in our partitions."""
    _create_topics(stack.kafka_bootstrap, topic_prefix)
    published = strategy(1)
    producer = KafkaProducer(bootstrap_servers=stack.kafka_bootstrap, acks="all")
    topic = f"{topic_prefix}strategies"
    producer.send(topic, key=published.user_id.encode(), value=encode(published)).get(30)
    producer.close()
    answer = _run_foreign(stack.kafka_bootstrap, topic_prefix, tmp_path)
    assert answer["ours"] == []
    assert answer["key"] == published.user_id
    assert answer["strategy_id"] == published.strategy_id
    for sent in answer["sent"]:
        event = decode_event(sent["value"].encode(), START_MS)
        assert isinstance(event, Event)
        assert getattr(event.properties, "strategy_id", None) == published.strategy_id
        assert sent["partition"] == partition_of(published.user_id.encode(), PARTITIONS)


def _create_topics(bootstrap: str, prefix: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics(
        [NewTopic(f"{prefix}{name}", PARTITIONS, 1) for name in ("strategies", "shop.events", "ads.events")]
    )
    admin.close()


def _run_foreign(bootstrap: str, prefix: str, folder: Path) -> dict[str, Any]:
    """Run the program from a folder and with a path that hold nothing of ours."""
    script = folder / "foreign.py"
    script.write_text(FOREIGN, encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(script), bootstrap, prefix, str(ROOT / "docs")]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
