"""A store that knows less than was known came back older."""

from streaming.bucket import Bucket
from streaming.floors import Floors
from streaming.keys import seal_field

TOPIC, OTHER = "shop.events", "ads.events"


def home(**sealed: int) -> Bucket:
    """Partition 1's home bucket with these seals."""
    names = {"shop": TOPIC, "ads": OTHER}
    return Bucket(1, {seal_field(names[name], 1): str(offset) for name, offset in sealed.items()})


def test_a_lower_seal_is_older_and_an_equal_one_is_not() -> None:
    """By topic; other partitions do not matter."""
    floors = Floors()
    floors.reached(TOPIC, 1, 10)
    floors.reached(TOPIC, 1, 8)
    floors.reached(OTHER, 1, 5)
    floors.reached(TOPIC, 0, 99)
    assert floors.older(home(shop=10, ads=5)) == {}
    assert floors.older(home(shop=9, ads=6)) == {TOPIC: 9}
    assert floors.older(home()) == {TOPIC: 0, OTHER: 0}


def test_what_came_back_counts_and_the_rest_is_owed() -> None:
    """Until it was applied again."""
    floors = Floors()
    floors.reached(TOPIC, 1, 10)
    floors.came_back(home(shop=4))
    assert floors.older(home(shop=4)) == {}
    assert floors.applied(TOPIC, 1) == 4
    assert floors.behind(home(shop=9))
    assert not floors.behind(home(shop=10))


def test_what_is_owed_is_told_once_per_loss() -> None:
    """To whoever has to wait for it; nothing where nothing was lost."""
    floors = Floors()
    floors.reached(TOPIC, 1, 10)
    assert floors.newly_owed(TOPIC, 1) is None
    for _ in range(2):
        floors.came_back(home(shop=4))
        assert [floors.newly_owed(TOPIC, 1), floors.newly_owed(TOPIC, 1)] == [10, None]
        floors.reached(TOPIC, 1, 10)
