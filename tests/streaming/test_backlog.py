"""Time waits for the strategies that were there at the assignment, and not for ever."""

from streaming.backlog import PATIENCE_TURNS, Backlog


def asked(end: int) -> Backlog:
    """A backlog of one partition whose end is known."""
    backlog = Backlog()
    backlog.hold([0])
    backlog.ask({0: end})
    return backlog


def test_time_waits_until_old_strategies_are_read() -> None:
    """Held from the assignment until everything before the end asked then was applied; later ones hold up nothing."""
    backlog = Backlog()
    assert not backlog.holds(0, 0)
    backlog.hold([0, 1])
    assert backlog.unasked == [0, 1]
    assert backlog.holds(0, 9)
    backlog.ask({0: 5, 1: 0})
    assert backlog.unasked == []
    assert not backlog.holds(1, 0)
    assert [backlog.holds(0, offset) for offset in (0, 4, 5, 0)] == [True, True, False, False]


def test_patience_ends_without_progress() -> None:
    """Records that have expired are not waited for: after some turns without progress time goes on."""
    backlog = asked(5)
    for _ in range(PATIENCE_TURNS):
        backlog.turn(0, 2)
    assert backlog.holds(0, 2)
    backlog.turn(0, 2)
    assert not backlog.holds(0, 2)


def test_progress_renews_patience() -> None:
    """Every strategy applied is a reason to wait for the next."""
    backlog = asked(5)
    for turn in range(3 * PATIENCE_TURNS):
        backlog.turn(0, turn // PATIENCE_TURNS)
    assert backlog.holds(0, 2)


def test_partitions_that_matter_too_are_held_once() -> None:
    """Others' partitions are held from when they matter; those that were held and have been read are not held again."""
    backlog = asked(5)
    assert not backlog.holds(0, 5)
    backlog.hold_also([0, 1])
    assert backlog.unasked == [1]
    assert not backlog.holds(0, 5)
    assert backlog.holds(1, 9)
    backlog.ask({1: 3})
    backlog.hold_also([0, 1])
    assert [backlog.holds(1, offset) for offset in (2, 3)] == [True, False]


def test_strategies_to_be_read_again_are_waited_for() -> None:
    """Of a Redis that came back older, also a second time; an end that has not been asked yet is later anyway."""
    backlog = asked(5)
    assert not backlog.holds(0, 5)
    for _ in range(2):
        backlog.owe(0, 5)
        assert [backlog.holds(0, offset) for offset in (2, 4, 5, 2)] == [True, True, False, False]
    backlog.owe(0, 9)
    backlog.owe(0, 7)
    assert backlog.holds(0, 8)
    backlog.hold([0])
    backlog.owe(0, 9)
    assert backlog.unasked == [0]
