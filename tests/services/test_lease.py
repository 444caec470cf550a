"""The lease on a real Redis: one holder at a time, taken over when it runs out, known to be lost."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from services.health import Health
from services.lease import Lease, lease_keys
from services.settings import UpdaterSettings
from services.worker_sending import Stopped
from streaming.contracts.errors import Unavailable

PATIENCE_S = 60.0
Make = Callable[..., Lease]


@pytest.fixture
def make(redis_url: str) -> Iterator[Make]:
    """Make leases of one installation, by default too long to run out within a test; all end with it."""
    made: list[Lease] = []

    def lease(lease_s: float = 300.0) -> Lease:
        made.append(Lease(UpdaterSettings(redis_url=redis_url), lease_s, threading.Event()))
        return made[-1]

    yield lease
    for each in made:
        each.release()


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up_s, f"waited in vain for {what}"
        time.sleep(0.02)


def test_one_of_two_holds_it_and_the_other_after_it(make: Make) -> None:
    """A second one is refused until the first lets go; then nothing is under way, and no epoch has to be raised."""
    first, second = make(), make()
    assert first.take()
    assert not second.take()
    assert first.held()
    assert not second.held()
    first.release()
    assert second.take()
    assert not second.usurped


def test_it_is_renewed_while_its_holder_lives(make: Make) -> None:
    """Long after its length nobody else gets it."""
    first, second = make(0.5), make(0.5)
    assert first.take()
    began_s = time.monotonic()
    while time.monotonic() < began_s + 2.0:
        assert not second.take()
        time.sleep(0.05)
    assert not first.lost


def test_one_that_nobody_renews_is_taken_over(make: Make, redis_url: str) -> None:
    """Its holder's name is still the last one: the next one knows that something may be under way."""
    first, second = make(), make()
    assert first.take()
    with redis.Redis.from_url(redis_url) as client:
        client.delete(lease_keys("")[0])  # as if it had run out
    assert second.take()
    assert second.usurped


def test_what_has_unknown_ends_is_not_let_go_as_done(make: Make) -> None:
    """Released amid a send that failed, the next holder raises the epoch."""
    first, second = make(), make()
    assert first.take()
    first.under_way = True
    first.release()
    assert second.take()
    assert second.usurped


def test_a_holder_that_was_replaced_learns_it_and_stops(make: Make, redis_url: str) -> None:
    """It says nothing more to anybody, its loop is stopped, and letting go does not take it from the other."""
    first, second = make(1.0), make()
    assert first.take()
    with redis.Redis.from_url(redis_url) as client:
        until(lambda: bool(client.delete(lease_keys("")[0])) and second.take(), "the other to be faster")
    until(lambda: first.lost, "the news")
    assert first._stop.is_set()
    assert not first.held()
    with pytest.raises(Stopped):
        first.check()
    first.release()
    assert not make().take()


def test_one_that_ran_out_unseen_is_taken_up_again(make: Make, redis_url: str) -> None:
    """A pause that nobody used costs nothing: the same holder goes on."""
    first = make(1.0)
    assert first.take()
    with redis.Redis.from_url(redis_url) as client:
        client.delete(lease_keys("")[0])
        until(lambda: bool(client.exists(lease_keys("")[0])), "the lease to be taken up")
    assert not first.lost


def test_a_redis_that_forgot_everything_costs_the_lease(make: Make, redis_url: str) -> None:
    """Who held it in between cannot be known."""
    first = make(1.0)
    assert first.take()
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    until(lambda: first.lost, "the news")


def test_without_redis_it_ends_by_our_own_clock(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not renewed in time it holds no more, though nobody said so: whoever asks has to wait."""
    first = make(0.5)

    def away(*_: object, **__: object) -> None:
        raise redis.ConnectionError("away")

    assert first.take()
    monkeypatch.setattr(first._redis, "eval", away)
    until(lambda: not first.held(), "its end")
    assert not first.lost
    with pytest.raises(Unavailable):
        first.check()
    monkeypatch.undo()
    until(first.held, "its renewal")


def test_a_standby_is_ready_and_its_successor_has_to_become_so(make: Make) -> None:
    """While it stands by nothing is missing; with the lease it has yet to learn what was announced."""
    first, second = make(), make()
    health = Health("announced")
    assert first.take()
    taken: list[bool] = []
    waiting = threading.Thread(target=lambda: taken.append(second.stand_by(health, ("announced",))))
    waiting.start()
    until(lambda: not health.missing(), "a ready standby")
    assert not taken
    first.release()
    waiting.join(PATIENCE_S)
    assert taken == [True]
    assert health.missing() == ["announced: starting"]


def test_a_standby_that_is_told_to_stop_does(make: Make) -> None:
    """It does not wait for the lease to end."""
    first, second = make(), make()
    assert first.take()
    second._stop.set()
    assert not second.stand_by(Health(), ())
