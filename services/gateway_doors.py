"""Who may come in: the key of a request, its scope and its rate, asked of Redis each time, so that a revoked key is out."""

import asyncio
import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from services.gateway_keys import Key, Scope, digest, keys_key, matching, parted
from services.gateway_problems import refusal
from services.settings_gateway import GatewaySettings
from streaming.answering import answering
from streaming.keys import namespace

REDIS_S = 5.0
"""Redis has so long to answer."""
CONNECTIONS = 32
"""To Redis, for keys and rates."""

_BUCKET = """
local function taken(bucket, rate, most, cost)
    local clock = redis.call('TIME')
    local now = clock[1] + clock[2] / 1e6
    local kept = redis.call('HMGET', bucket, 'tokens', 'at')
    local tokens = math.min(most, (tonumber(kept[1]) or most) + rate * math.max(0, now - (tonumber(kept[2]) or now)))
    local wait = 0
    if tokens >= cost then tokens = tokens - cost else wait = (cost - tokens) / rate end
    redis.call('HSET', bucket, 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
    redis.call('PEXPIRE', bucket, math.ceil(1000 * most / rate) + 1000)
    return string.format('%.6f', wait)
end
"""
"""A token bucket by Redis' own clock, so that all gateways share it: takes `cost`, or says how many seconds to wait."""

_TAKE = f"""{_BUCKET}
return taken(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))
"""

_ADMIT = f"""{_BUCKET}
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if not stored then return {{}} end
local key = cjson.decode(stored)
if key.digest ~= ARGV[2] then return {{}} end
local rate = key.rate_per_s > 0 and key.rate_per_s or tonumber(ARGV[3])
local most = math.max(1, rate * tonumber(ARGV[4]))
return {{stored, taken(KEYS[2], rate, most, math.min(most, tonumber(ARGV[5])))}}
"""
"""The key, where the digest is its secret's, with the request taken from its rate: one call for every request that comes."""


def presented(headers: Mapping[str, str]) -> str:
    """The key in `Authorization`: as bearer token, or as basic-auth user with any password; empty where there is none."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


class Doors:
    """Checks keys and takes from their buckets."""

    def __init__(self, settings: GatewaySettings, client: "Redis") -> None:
        """Nothing is asked before it is needed."""
        self._settings, self._redis = settings, client
        self._take, self._admit = client.register_script(_TAKE), client.register_script(_ADMIT)
        self._turns = asyncio.Semaphore(CONNECTIONS)

    @staticmethod
    def knocked(headers: Mapping[str, str]) -> tuple[str, str]:
        """Id and secret of the key that a request shows.

        Raises:
            Refused: it shows none; whether the one it shows is one of ours is not known yet.
        """
        found = parted(presented(headers))
        if not found[0]:
            raise _nobody()
        return found

    async def admit(self, headers: Mapping[str, str], *scopes: Scope, cost: int = 1) -> Key:
        """The key that opens this door, so many events or requests taken from its rate, as `take` does.

        Raises:
            Refused: no key, one without a scope that is needed, or nothing left of its rate.
            Unavailable: Redis does not answer now.
        """
        key_id, secret = self.knocked(headers)
        settings = self._settings
        names = [keys_key(settings.topic_prefix), self._bucket(key_id)]
        said = digest(secret)
        asked: list[str | float] = [key_id, said, settings.gateway_rate_per_s, settings.gateway_burst_s, cost]
        found = await self._asked(self._admit, names, asked)
        key = matching(said, found[0] if found else None)
        if key is None:
            raise _nobody()
        if not set(scopes) <= set(key.scopes):
            raise refusal("forbidden", f"needed: {', '.join(scopes)}; the key has {', '.join(key.scopes)}")
        self._pass(float(found[1]), *self._pace(key))
        return key

    async def take(self, key: Key, cost: int) -> None:
        """Take so many events or requests from the key's rate, all or none; more than a full bucket counts as a full one.

        Raises:
            Refused: there is not so much left.
            Unavailable: Redis does not answer now.
        """
        rate, most = self._pace(key)
        wait_s = await self._asked(self._take, [self._bucket(key.key_id)], [rate, most, min(float(cost), most)])
        self._pass(float(wait_s), rate, most)

    async def _asked(self, script: AsyncScript, keys: list[str], args: list[str | float]) -> Any:
        """What a script says; when all connections are in use a request waits for one, as long as for Redis itself."""
        async with answering():
            if self._turns.locked():
                async with asyncio.timeout(REDIS_S):
                    await self._turns.acquire()
            else:
                await self._turns.acquire()
            try:
                return await script(keys=keys, args=args)
            finally:
                self._turns.release()

    def _bucket(self, key_id: str) -> str:
        return f"{namespace(self._settings.topic_prefix)}rate:{key_id}"

    def _pace(self, key: Key) -> tuple[float, float]:
        """Of a key: what comes per second, and how much at most at once."""
        rate = key.rate_per_s or self._settings.gateway_rate_per_s
        return rate, max(1.0, rate * self._settings.gateway_burst_s)

    @staticmethod
    def _pass(wait_s: float, rate: float, most: float) -> None:
        if wait_s:
            detail = f"{rate:g} events and requests per second, at most {most:g} at once"
            raise refusal("too-many-requests", detail, retry_after_s=math.ceil(wait_s))


def _nobody() -> Exception:
    return refusal("unauthenticated", "send a key as bearer token, or as the user of basic authentication")
