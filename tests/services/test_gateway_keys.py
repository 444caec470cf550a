"""API keys against a real Redis: shown once, kept hashed, revoked at once, bounded in rate across gateways."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import redis
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from services.cli import main
from services.gateway_doors import Doors, presented
from services.gateway_keys import Key, fits, issue, keys_key, parted
from services.gateway_problems import Refused
from services.settings_gateway import GatewaySettings
from streaming.contracts.errors import Unavailable

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@given(st.text() | st.from_regex(r"sk_[0-9a-f]{0,16}_[A-Za-z0-9_-]{0,50}", fullmatch=True))
def test_no_text_but_the_key_itself_opens(text: str) -> None:
    """Whatever is sent has two parts or none, and fits no key that it was not issued as."""
    key_id, secret = parted(text)
    assert bool(key_id) == bool(secret)
    issued = issue("web", ("publish",), NOW)
    assert fits(secret, msgspec.json.encode(issued.key)) is None
    assert fits(secret, None) is None
    assert fits(parted(issued.text)[1], msgspec.json.encode(issued.key)) == issued.key


def test_what_is_kept_does_not_hold_the_secret() -> None:
    """Neither the key nor its secret part can be read from what is stored."""
    issued = issue("web", ("publish", "read"), NOW)
    assert parted(issued.text)[1] not in msgspec.json.encode(issued.key).decode()
    assert issue("web", ("publish",), NOW).text != issued.text


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer sk_1_2", "sk_1_2"),
        ("bearer  sk_1_2", "sk_1_2"),
        ("Basic " + base64.b64encode(b"sk_1_2:").decode(), "sk_1_2"),
        ("Basic " + base64.b64encode(b"sk_1_2:anything").decode(), "sk_1_2"),
        ("Basic !!!", ""),
        ("Basic " + base64.b64encode(b"\xff").decode(), ""),
        ("Digest sk_1_2", ""),
        ("", ""),
    ],
)
def test_the_key_is_read_from_either_scheme(header: str, key: str) -> None:
    """A bearer token, or the user of basic authentication, as Segment's libraries send a write key."""
    assert presented({"authorization": header}) == key


@pytest.fixture
def settings(redis_url: str, topic_prefix: str) -> GatewaySettings:
    """Ten a second, twenty at once."""
    return GatewaySettings(redis_url=redis_url, topic_prefix=topic_prefix, gateway_rate_per_s=10.0, gateway_burst_s=2.0)


@pytest.fixture
def client(settings: GatewaySettings) -> Iterator["redis.Redis"]:
    """The Redis that holds the keys."""
    with redis.Redis.from_url(settings.redis_url) as made:
        yield made


def at_the_doors(settings: GatewaySettings, act: Callable[[Doors], Awaitable[object]]) -> object:
    """What comes of it, or the refusal's status."""

    async def run() -> object:
        async with Redis.from_url(settings.redis_url) as made:
            try:
                return await act(Doors(settings, made))
            except Refused as refused:
                return refused.problem.status

    return asyncio.run(run())


def stored(client: "redis.Redis", settings: GatewaySettings, *, rate_per_s: float = 0.0) -> tuple[dict[str, str], Key]:
    """The headers of a holder of a fresh key for reading, and the key."""
    issued = issue("shop", ("read",), NOW, rate_per_s=rate_per_s)
    client.hset(keys_key(settings.topic_prefix), issued.key.key_id, msgspec.json.encode(issued.key))
    return {"authorization": f"Bearer {issued.text}"}, issued.key


def test_a_door_opens_to_its_scope_until_the_key_is_revoked(settings: GatewaySettings, client: "redis.Redis") -> None:
    """The right key and scope come in; no key, another's scope, another installation and a revoked key do not."""
    headers, key = stored(client, settings)
    assert at_the_doors(settings, lambda doors: doors.admit(headers, "read")) == key
    assert at_the_doors(settings, lambda doors: doors.admit(headers, "publish")) == 403
    assert at_the_doors(settings, lambda doors: doors.admit({}, "read")) == 401
    elsewhere = msgspec.structs.replace(settings, topic_prefix=settings.topic_prefix + "other.")
    assert at_the_doors(elsewhere, lambda doors: doors.admit(headers, "read")) == 401
    client.hdel(keys_key(settings.topic_prefix), key.key_id)
    assert at_the_doors(settings, lambda doors: doors.admit(headers, "read")) == 401


def test_a_rate_is_shared_by_all_gateways_and_fills_again(settings: GatewaySettings, client: "redis.Redis") -> None:
    """A full bucket is given once, whoever asks; what is refused takes nothing; a key's own rate comes before the setting."""
    slow = msgspec.structs.replace(settings, gateway_rate_per_s=0.001, gateway_burst_s=20_000.0)
    _, key = stored(client, slow)
    _, quick = stored(client, slow, rate_per_s=1000.0)

    async def drain(doors: Doors) -> list[str]:
        async def taken(cost: int) -> str:
            try:
                await Doors(slow, doors._redis).take(key, cost)  # each time another gateway
            except Refused as refused:
                return f"refused {refused.problem.status} {refused.problem.retry_after_s > 1}"
            return "taken"

        await doors.take(quick, 50)
        return [await taken(cost) for cost in (15, 6, 5, 1)]

    assert at_the_doors(slow, drain) == ["taken", "refused 429 True", "taken", "refused 429 True"]

    async def refilled(doors: Doors) -> None:
        for _ in range(3):  # each takes more than is left of a bucket of a twentieth of a second
            while True:
                try:
                    await doors.take(quick, 40)
                    break
                except Refused:
                    await asyncio.sleep(0.01)

    assert at_the_doors(msgspec.structs.replace(slow, gateway_burst_s=0.05), refilled) is None


def test_a_batch_comes_in_whole_or_not_at_all(settings: GatewaySettings, client: "redis.Redis") -> None:
    """Key and rate in one question: what is more than is left takes nothing; more than a full bucket counts as a full one."""
    slow = msgspec.structs.replace(settings, gateway_rate_per_s=0.001, gateway_burst_s=20_000.0)
    headers, _ = stored(client, slow)
    other, _ = stored(client, slow)

    def came(cost: int, said: dict[str, str] = headers) -> object:
        return at_the_doors(slow, lambda doors: doors.admit(said, "read", cost=cost))

    assert [came(cost) == 429 for cost in (15, 6, 5, 1)] == [False, True, False, True]
    assert [came(cost, other) == 429 for cost in (1000, 1)] == [False, True]


def test_without_redis_nobody_comes_in(tmp_path: Path) -> None:
    """A key that cannot be looked up is no reason to let anybody in, nor to say that it is wrong."""
    settings = GatewaySettings(redis_url=f"unix://{tmp_path}/none.sock")
    issued = issue("shop", ("read",), NOW)
    with pytest.raises(Unavailable):
        at_the_doors(settings, lambda doors: doors.admit({"authorization": f"Bearer {issued.text}"}, "read"))


def test_keys_are_made_listed_and_revoked_by_the_command(settings: GatewaySettings, client: "redis.Redis") -> None:
    """`create` prints a key that opens its doors, `list` does not show it, `revoke` ends it."""
    environ = {
        "STRATAGEM_KAFKA_BOOTSTRAP": "unused:9092",
        "STRATAGEM_REDIS_URL": settings.redis_url,
        "STRATAGEM_TOPIC_PREFIX": settings.topic_prefix,
    }

    def said(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["keys", *words], env=environ)
        return result.exit_code, result.output.strip()

    code, text = said("create", "web\x1b[2Jshop", "--scope", "publish", "--scope", "read", "--rate", "5")
    assert code == 0
    headers = {"authorization": f"Bearer {text}"}
    key = at_the_doors(settings, lambda doors: doors.admit(headers, "publish"))
    assert isinstance(key, Key)
    code, shown = said("list")
    assert code == 0
    assert shown.startswith(f"{key.key_id} publish,read 5/s ")
    assert parted(text)[1] not in shown
    assert "\x1b" not in shown
    assert all(
        parted(text)[1].encode() not in value for value in client.hgetall(keys_key(settings.topic_prefix)).values()
    )
    assert said("revoke", key.key_id) == (0, "revoked")
    assert at_the_doors(settings, lambda doors: doors.admit(headers, "publish")) == 401
    assert said("revoke", key.key_id)[0] == 1
