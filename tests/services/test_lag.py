"""Lag in seconds: the age of the oldest record that was not applied."""

from services.lag import Lag

FIRST, SECOND = ("shop.events", 0), ("shop.events", 1)
ADS = ("ads.events", 0)


def test_the_oldest_record_of_a_topic_counts() -> None:
    """The longest wait of the partitions; nothing for a topic that was read to its end."""
    lag = Lag()
    lag.seen({FIRST: 70.0, SECOND: 40.0, ADS: None}, 100.0)
    assert lag.seconds(100.0) == {"shop.events": 60.0, "ads.events": 0.0}


def test_a_consumer_that_stands_still_falls_behind() -> None:
    """The same oldest record at every look: the lag grows with the clock."""
    lag = Lag()
    for now_s in (100.0, 200.0, 300.0):
        lag.seen({FIRST: 90.0}, now_s)
        assert lag.seconds(now_s) == {"shop.events": now_s - 90.0}


def test_where_kafka_cannot_be_asked_it_grows() -> None:
    """Since everything was known to be read."""
    lag = Lag()
    lag.seen({FIRST: None}, 100.0)
    assert lag.seconds(130.0) == {"shop.events": 30.0}
    lag.seen({FIRST: None}, 140.0)
    assert lag.seconds(140.0) == {"shop.events": 0.0}
