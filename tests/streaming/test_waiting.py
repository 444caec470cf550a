"""A wait is said when it begins, every minute, and when it is over."""

from streaming.waiting import Wait


def test_it_is_said_once_when_it_begins_and_once_when_it_ends() -> None:
    """Not at every try."""
    wait = Wait()
    assert wait.over(0.0) is None
    assert wait.failed("redis", "no", 10.0) == "waiting for redis: no"
    assert [wait.failed("redis", "no", 10.0 + second) for second in range(1, 59)] == [None] * 58
    assert wait.on == "redis"
    assert wait.over(70.0) == "redis answers again after 60.0 s and 59 failed tries"
    assert wait.on == ""
    assert wait.over(71.0) is None


def test_a_long_wait_is_recalled_every_minute() -> None:
    """With how long it lasts."""
    wait = Wait()
    said = [wait.failed("kafka", "no", float(second)) for second in range(0, 150, 5)]
    assert [each for each in said if each] == [
        "waiting for kafka: no",
        "still waiting for kafka, 60 s and 13 tries so far: no",
        "still waiting for kafka, 120 s and 25 tries so far: no",
    ]


def test_another_thing_to_wait_for_is_another_wait() -> None:
    """It is said at once."""
    wait = Wait()
    wait.failed("redis", "no", 0.0)
    assert wait.failed("kafka", "gone", 1.0) == "waiting for kafka: gone"
