"""The HTTP gateway: for shops that do not speak Kafka. Events in, acknowledged by Kafka before they are answered 202; strategies out.

Stopped politely it takes no more connections, answers what it has begun, and ends when Kafka has reported on every record.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.types import ASGIApp

from model.critic import Critic
from services import metrics
from services.clients import redis_client
from services.console.app import Console
from services.console.shown_settings import collected
from services.deciding import PRIOR_HEADS
from services.following import Critics, Follower
from services.gateway_app import After, Gateway
from services.gateway_doors import CONNECTIONS, REDIS_S, Doors
from services.gateway_following import FOLLOWED, Following
from services.gateway_hub import Hub
from services.gateway_intake import SERVICE, Intake
from services.gateway_server import Server, bounded
from services.health import Health
from services.registries import registry_of
from services.settings import SettingError
from services.settings_gateway import GatewaySettings
from services.valuing import formula_of
from services.worker_store import AnswerStore
from streaming.contracts.topics import ADS_EVENTS, SHOP_EVENTS

if TYPE_CHECKING:
    import redis

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 2.0
"""Between two looks at what is needed, which readiness tells."""
STANDS_AFTER_S = 60.0
"""An event loop that does not turn for so long is taken for dead."""


def listening(host: str, port: int) -> socket.socket:
    """The socket that requests come in by.

    Raises:
        SettingError: the port is taken, or the host is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise SettingError(f"STRATAGEM_GATEWAY_PORT={port}: cannot listen on {host}: {error.strerror}") from None


def application(
    settings: GatewaySettings, health: Health, hub: Hub, store: "redis.Redis", console: Console | None
) -> ASGIApp:
    """The application with its clients, which live as long as it is served."""
    client = _keys_client(settings)
    intake, stop = Intake(settings), threading.Event()
    formula, answers = formula_of(settings), AnswerStore(settings)
    critics = Critics(registry_of(settings, Path(settings.home) / "versions"), formula)
    announced = Follower(settings, critics, stop, SERVICE)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        intake.start()
        announced.start()
        following = Following(settings, hub, asyncio.get_running_loop())
        following.start()
        watching = asyncio.create_task(_watch(intake, hub, announced, client, health))
        metrics.LIVE.labels(SERVICE).set(1)
        yield
        metrics.LIVE.labels(SERVICE).set(0)
        watching.cancel()
        stop.set()
        for end in (following.close, intake.close, announced.join, *((console.close,) if console else ())):
            await asyncio.to_thread(end)
        await client.aclose()
        answers.close()
        store.close()

    after = After(hub, answers, Critic.prior(0, PRIOR_HEADS, formula), announced.changes)
    pages = console.application() if console else None
    return Gateway(settings, Doors(settings, client), intake, store, after).application(lifespan, pages)


def _keys_client(settings: GatewaySettings) -> "Redis":
    """Where keys and rates are asked for: a connection for each of those that the doors let ask at once, and one to look by.

    A pool that blocks by itself costs a batch of events more than the rest of its question to Redis.
    """
    pool = ConnectionPool.from_url(
        settings.redis_url, max_connections=CONNECTIONS + 1, socket_timeout=REDIS_S, socket_connect_timeout=REDIS_S
    )
    return Redis.from_pool(pool)


async def _watch(
    intake: Intake, hub: Hub, announced: "Follower[Critic | None]", client: "Redis", health: Health
) -> None:
    """Look again and again at Kafka and Redis; say what is missing, once."""
    topics = [topic.name for topic in (SHOP_EVENTS, ADS_EVENTS, *FOLLOWED)]
    while True:
        health.beat()
        metrics.LAST_LOOP.labels(SERVICE).set_to_current_time()
        _found(health, "kafka", await asyncio.to_thread(intake.missing, topics, REDIS_S))
        _found(health, "strategies", "" if hub.positions else "their topics are not followed")
        _found(
            health, "adapters", "" if announced.failed is None else f"are not followed after a bug: {announced.failed}"
        )
        try:
            await client.ping()
        except (RedisError, OSError) as error:
            metrics.REDIS_ERRORS.labels(SERVICE).inc()
            _found(health, "redis", f"does not answer: {error}")
        else:
            _found(health, "redis", "")
        await asyncio.sleep(LOOK_EVERY_S)


def _found(health: Health, name: str, why: str) -> None:
    metrics.WAITING.labels(SERVICE, name).set(bool(why))
    if not why:
        health.met(name)
    elif health.unmet(name, why):
        LOG.warning("%s: %s", name, why)


def main(settings: GatewaySettings) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingError: it cannot listen where the settings say.
    """
    health = Health("kafka", "redis", "strategies", "adapters", patience_s=STANDS_AFTER_S)
    hub = Hub(settings.gateway_streams, settings.gateway_stream_buffer, settings.gateway_retry_after_s)
    door = listening(settings.gateway_host, settings.gateway_port)
    metrics.serve(SERVICE, settings.metrics_host, settings.metrics_port, health)
    store = redis_client(settings, retries=0)
    console = Console(settings, store, collected(settings, os.environ)) if settings.console else None
    config = uvicorn.Config(
        application(settings, health, hub, store, console),
        http=bounded(settings.gateway_head_timeout_s, settings.gateway_stall_s),
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.gateway_connections,
        # What was begun ends by itself, within the time of a body and that of Kafka.
        timeout_graceful_shutdown=round(settings.gateway_body_timeout_s + 2 * settings.gateway_ack_s) + 5,
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn hands the signal on to these once it has stopped
        signal.signal(number, lambda *_: None)
    gc.freeze()  # what starting made stays for good
    LOG.info("listening on http://%s:%d", *door.getsockname()[:2])

    def end() -> None:
        hub.end()
        if console is not None:
            console.end()

    Server(config, end).run(sockets=[door])
    return 0
