"""Where partitions have records, asked of a real broker: past markers, aborted transactions and what has expired."""

import asyncio
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from kafka import TopicPartition

from services.agents import stream_settings
from services.clients import admin, topic_name
from services.local.stack import Endpoints
from services.settings import AgentsSettings
from services.topics import Topics, ensure_topics
from streaming.app import _aiokafka_options
from streaming.contracts.topics import SHOP_EVENTS
from streaming.ends import EndOffsets
from tests.installation import installation

LIMIT_S = 60.0
WRITER = """
import sys
from kafka import KafkaProducer

bootstrap, topic = sys.argv[1:]
writer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
writer.init_transactions()
for kept in (True, False, True):
    writer.begin_transaction()
    writer.send(topic, key=b"k", value=b"v", partition=0)
    writer.flush()
    (writer.commit_transaction if kept else writer.abort_transaction)()
writer.close()
"""
"""Leaves a record at 0 and at 4; 1, 3 and 5 are markers, 2 was aborted."""


def test_the_next_record_is_what_a_reader_would_get_next(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> None:
    """From any offset: of committed records that have not expired."""
    settings = installation(AgentsSettings, stack, topic_prefix, tmp_path)
    ensure_topics(settings)
    name = topic_name(settings, SHOP_EVENTS)
    command = [sys.executable, "-c", WRITER, settings.kafka_bootstrap, name]
    subprocess.run(command, check=True, timeout=LIMIT_S)
    ends = EndOffsets(_aiokafka_options(stream_settings(settings, Topics({}, 2, (), {}))), settings.topic_prefix)

    async def asked(*offsets: int) -> list[int | None]:
        return [await ends.next_record(SHOP_EVENTS.name, 0, offset) for offset in offsets]

    assert asyncio.run(asked(*range(7))) == [0, 4, 4, 4, 4, None, None]
    assert asyncio.run(ends.next_record(SHOP_EVENTS.name, 1, 0)) is None
    with closing(admin(settings)) as kafka:
        kafka.delete_records({TopicPartition(name, 0): 3})
    assert asyncio.run(asked(0, 5)) == [4, None]
