"""Other orders of one recorded input: what a shop, its network and its outages may make of it. Pure."""

from collections.abc import Iterable, Sequence
from random import Random

from msgspec.structs import replace

from tests.faults.recorded import HOUR_MS, Said


def lagging(said: Sequence[Said], lag_ms: int, rng: Random) -> list[tuple[Said, ...]]:
    """In stages, one for each tick of the clock: at each some of the topics are so far behind the others, by turns.

    Topics have no order between them: only who says a stage once the last was read makes them lag.
    """
    topics = sorted({each.topic for each in said})
    left = {topic: [each for each in said if each.topic == topic] for topic in topics}
    stages = []
    for tick_ms in sorted({each.at_ms for each in said if each.is_clock}):
        stage: list[Said] = []
        for topic in topics:
            until_ms = tick_ms - rng.choice((0, lag_ms))
            stage += [each for each in left[topic] if each.at_ms <= until_ms]
            left[topic] = [each for each in left[topic] if each.at_ms > until_ms]
        stages.append(tuple(stage))
    return [*stages, tuple(each for topic in topics for each in left[topic])]


def wholly_after(said: Sequence[Said], topic: str) -> list[tuple[Said, ...]]:
    """In two stages: one topic is silent until the others have said everything."""
    return [tuple(each for each in said if (each.topic == topic) is late) for late in (False, True)]


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
