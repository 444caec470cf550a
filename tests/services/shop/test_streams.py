"""Of the shop on real Kafka: its clock, what it waits for, and how it answers."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.clients import producer
from services.local.stack import Endpoints
from services.reading import read_all
from services.settings import ShopSettings
from services.shop.books import count_published
from services.shop.replay import Shop
from services.shop.streams import Streams, clock_key
from services.shop.world import World
from services.topics import ensure_topics
from streaming.contracts.codec import decode, encode, instant, to_ms
from streaming.contracts.partition import partition_of
from streaming.contracts.progress import Progress
from streaming.contracts.topics import ADS_EVENTS, CAMPAIGNS, CATALOG, PROGRESS, REQUESTS, SHOP_EVENTS, STRATEGIES
from tests.services.shop.shop_samples import make_request, make_strategy


@pytest.fixture
def settings(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> ShopSettings:
    """Settings of a shop on topics of this test's own."""
    made = ShopSettings(
        home=tmp_path,
        kafka_bootstrap=stack.kafka_bootstrap,
        redis_url=stack.redis_url,
        topic_prefix=topic_prefix,
        partitions=2,
        tick_wall_limit_s=1.0,
    )
    ensure_topics(made)
    return made


@pytest.fixture
def shop(settings: ShopSettings, world: World) -> Iterator[Shop]:
    """An opened shop."""
    with Streams(settings) as streams:
        made = Shop(world, streams, settings.tick_wall_limit_s)
        made.open_shop()
        yield made


class Agents:
    """What agents and worker would publish, said by the test."""

    def __init__(self, settings: ShopSettings) -> None:
        """Connect."""
        self._settings = settings
        self._producer = producer(settings)

    def send(self, topic: str, key: str, value: bytes) -> None:
        """One record, acknowledged."""
        self._producer.send(self._settings.topic_prefix + topic, key=key.encode(), value=value).get(timeout=10)

    def have_read(self, offset: int) -> None:
        """Say that every event partition has been applied up to an offset."""
        for topic in (SHOP_EVENTS, ADS_EVENTS):
            for partition in range(2):
                told = Progress(topic.name, partition, instant(0), offset)
                self.send(PROGRESS.name, f"{topic.name}/{partition}", encode(told))


def test_opening_publishes_catalog_campaigns_and_the_clock(shop: Shop, settings: ShopSettings) -> None:
    """Launched products and all campaigns are there, and every event partition has heard the clock."""
    products = {(record.key or b"").decode() for record in read_all(settings, CATALOG)}
    soon_ms = shop.clock_ms + 24 * 3_600_000
    assert products == {p for p, r in shop.world.catalog.items() if to_ms(r.launched_at) <= soon_ms}
    assert {(r.key or b"").decode() for r in read_all(settings, CAMPAIGNS)} == set(shop.world.campaigns)
    for topic in (SHOP_EVENTS, ADS_EVENTS):
        clocks = list(read_all(settings, topic))
        assert sorted(record.partition for record in clocks) == [0, 1]
        assert {json.loads(record.value or b"")["event"] for record in clocks} == {"Clock Advanced"}
    assert count_published(settings) == 0


def test_clock_waits_for_agents_and_answers(shop: Shop, settings: ShopSettings) -> None:
    """A tick ends at its wall limit while a request is open, and at once when all is read and answered."""
    agents = Agents(settings)
    request = make_request(shop.world, "ranking", next(iter(shop.world.customers)))
    agents.have_read(10**6)
    agents.send(REQUESTS.name, request.user_id, encode(request))
    shop.tick(600_000)
    assert shop.timeouts == 1
    assert shop.streams.ledger.open == {request.request_id}
    agents.send(STRATEGIES.name, request.user_id, encode(make_strategy(request)))
    shop.tick(600_000)
    assert shop.timeouts == 1
    assert not shop.streams.ledger.open


def test_silent_agents_do_not_stop_the_clock(shop: Shop) -> None:
    """Without progress the clock moves on after its stated limit, and says so."""
    before_ms = shop.clock_ms
    shop.tick(600_000)
    assert shop.clock_ms == before_ms + 600_000
    assert shop.timeouts == 1
    assert "not yet read: ads.events/0" in shop.streams.waiting_for({("ads.events", 0): 10**9})


def test_events_of_a_day_reach_their_topics(shop: Shop, settings: ShopSettings) -> None:
    """What a day plans is published under its customer's key, in the partition that murmur2 gives the key."""
    Agents(settings).have_read(10**6)
    shop.plan_until(shop.clock_ms + 1)
    shop.tick(24 * 3_600_000)
    records = [r for r in read_all(settings, SHOP_EVENTS) if not (r.key or b"").startswith(b"shop-clock-")]
    assert len(records) > 50
    assert all(record.partition == partition_of(record.key or b"", 2) for record in records)


def test_clock_keys_belong_to_their_partitions() -> None:
    """The clock's record lies where its key belongs, so that no reader counts it as misplaced."""
    assert all(partition_of(clock_key(p, 5).encode(), 5) == p for p in range(5))


def test_progress_contract_is_what_the_shop_reads() -> None:
    """The ledger's offset is the next one to be applied."""
    assert decode(encode(Progress("ads.events", 1, instant(0), 7)), Progress).offset == 7
