"""A consumer that commits nothing while records keep coming is noticed."""

from services.liveness import Progress

PLACE = ("shop.events", 0)


def test_no_movement_while_there_is_something_to_read_is_stuck() -> None:
    """Stuck after the patience, not before."""
    progress = Progress()
    assert progress.stuck({PLACE: 10}, {PLACE: 4}, 0.0, 60.0) == set()
    assert progress.stuck({PLACE: 20}, {PLACE: 4}, 59.0, 60.0) == set()
    assert progress.stuck({PLACE: 20}, {PLACE: 4}, 61.0, 60.0) == {PLACE}


def test_any_movement_or_nothing_to_read_is_alive() -> None:
    """A slow consumer lives, and so does one that has read everything."""
    progress = Progress()
    for minute in range(10):
        assert progress.stuck({PLACE: 1000}, {PLACE: minute}, 60.0 * minute, 61.0) == set()
    for minute in range(10, 20):
        assert progress.stuck({PLACE: 1000}, {PLACE: 1000}, 60.0 * minute, 61.0) == set()


def test_a_known_reason_to_wait_is_forgiven() -> None:
    """After an outage of Redis the patience begins anew."""
    progress = Progress()
    progress.stuck({PLACE: 10}, {PLACE: 4}, 0.0, 60.0)
    progress.forgive()
    assert progress.stuck({PLACE: 10}, {PLACE: 4}, 100.0, 60.0) == set()
