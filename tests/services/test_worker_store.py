"""First-wins storage of answers on the real Redis."""

import threading

import msgspec
import pytest

from services.settings import WorkerSettings
from services.worker_store import AnswerStore, answer_key
from streaming.contracts.errors import Unavailable
from streaming.control import pause, resume


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    """A database of the test's own."""
    return WorkerSettings(redis_url=redis_url, topic_prefix="acme.", strategy_ttl_s=600)


def test_the_first_answer_wins_and_outlives_redeliveries(settings: WorkerSettings) -> None:
    """What is stored first is what everybody gets, and it stays for the TTL."""
    store = AnswerStore(settings)
    assert store.keep([("str_1", b"first"), ("str_2", b"other")]) == [b"first", b"other"]
    assert store.keep([("str_1", b"second"), ("str_3", b"new")]) == [b"first", b"new"]
    assert store.look(["str_1", "str_9"]) == (False, [b"first", None])
    assert 0 < store._redis.ttl(answer_key("acme.", "str_1")) <= 600


def test_of_many_at_once_one_wins(settings: WorkerSettings) -> None:
    """Eight workers that decoded the same request all publish the same bytes."""
    kept: list[bytes] = []

    def decode(number: int) -> None:
        kept.extend(AnswerStore(settings).keep([("str_1", f"answer {number}".encode())]))

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 8
    assert len(set(kept)) == 1


def test_pause_is_seen_with_the_next_look(settings: WorkerSettings) -> None:
    """No cache stands between an operator's `pause` and the worker."""
    store = AnswerStore(settings)
    pause(store._redis, "acme.")
    assert store.look([]) == (True, [])
    resume(store._redis, "acme.")
    assert store.look([]) == (False, [])


def test_a_redis_that_is_not_there_is_the_worlds_fault(settings: WorkerSettings) -> None:
    """Connection refused is `Unavailable`: to be retried, not a bug of the request."""
    store = AnswerStore(msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:1"))
    with pytest.raises(Unavailable, match="redis"):
        store.look(["str_1"])
    with pytest.raises(Unavailable, match="redis"):
        store.keep([("str_1", b"x")])
