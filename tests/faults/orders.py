"""Other orders of one recorded input: what a shop, its network and its outages may make of it. Pure."""

from collections.abc import Iterable, Sequence
from random import Random

from msgspec.structs import replace

from tests.faults.recorded import HOUR_MS, Said


def lagging(said: Iterable[Said], topic: str, lag_ms: int = HOUR_MS) -> tuple[Said, ...]:
    """The same with one topic said so much later than the others."""
    moved = [replace(each, at_ms=each.at_ms + lag_ms) if each.topic == topic else each for each in said]
    return tuple(sorted(moved, key=lambda each: each.at_ms))


def twice(said: Sequence[Said]) -> tuple[Said, ...]:
    """Everything, and then everything once more."""
    return (*said, *said)


def shuffled(said: Iterable[Said], within_ms: int, rng: Random) -> tuple[Said, ...]:
    """Each record up to half of `within_ms` earlier or later; the clock's own keep their places."""
    half = within_ms // 2
    moved = [each.at_ms if each.is_clock else each.at_ms + rng.randrange(-half, half + 1) for each in said]
    return tuple(each for _, each in sorted(zip(moved, said, strict=True), key=lambda pair: pair[0]))


def with_duplicates(said: Sequence[Said], share: float, rng: Random) -> tuple[Said, ...]:
    """A share of the records, clocks apart, is said again within the next hour."""
    again = [
        replace(each, at_ms=each.at_ms + rng.randrange(HOUR_MS))
        for each in said
        if not each.is_clock and rng.random() < share
    ]
    return tuple(sorted((*said, *again), key=lambda each: each.at_ms))


def mispartitioned(said: Iterable[Said], partitions: int) -> tuple[Said, ...]:
    """By turns in every partition, as by a publisher that knows no murmur2; the clock is told to all as before."""
    return tuple(
        each if each.partition is not None else replace(each, partition=index % partitions)
        for index, each in enumerate(said)
    )
