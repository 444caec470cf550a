"""Whose fault a failure of Redis is, on a real one."""

from collections.abc import Iterator

import pytest
import redis

from streaming.answering import evicts, our_fault

WRITES = "return redis.call('SET', KEYS[1], ARGV[1])"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of an empty database."""
    with redis.Redis.from_url(redis_url) as opened:
        yield opened


def failure(client: redis.Redis, script: str) -> redis.RedisError:
    """The error of a script."""
    with pytest.raises(redis.RedisError) as raised:
        client.eval(script, 1, "key", "value")
    return raised.value


@pytest.mark.parametrize(
    "state", ["OOM command not allowed", "READONLY You can't write", "MISCONF Redis is configured"]
)
def test_a_state_that_may_pass_is_not_our_fault(client: redis.Redis, state: str) -> None:
    """Also where a script's command met it, as Redis words that."""
    assert not our_fault(failure(client, f"return redis.error_reply('{state} now')"))
    assert not our_fault(redis.ResponseError(f"Error running script (call to f_1): @user_script:3: -{state} now"))
    assert not our_fault(redis.ResponseError(f"{state} now script: f1, on @user_script:3."))


def test_a_broken_script_is_our_fault(client: redis.Redis) -> None:
    """As is a key of another kind than we put there."""
    assert our_fault(failure(client, "return redis.call('SET')"))
    assert our_fault(failure(client, "return nil + 1"))
    client.lpush("key", "a list")
    assert our_fault(failure(client, "return redis.call('HGET', KEYS[1], 'v')"))


def test_only_a_redis_that_may_evict_is_refused(client: redis.Redis) -> None:
    """By the fields of `INFO memory` of a real one, changed."""
    told = dict(client.info("memory"))
    assert evicts(told) is None
    assert evicts(told | {"maxmemory_policy": "allkeys-lru", "maxmemory": 0}) is None
    refused = evicts(told | {"maxmemory_policy": "volatile-ttl", "maxmemory": 1000})
    assert refused is not None
    assert "maxmemory-policy is volatile-ttl with maxmemory 1000" in refused
