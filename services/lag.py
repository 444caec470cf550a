"""How far behind a consumer is, in seconds of the wall clock. Pure.

Not the age of the last record it applied: a consumer that stands still would keep that. Behind by the age of the oldest
record that it has not applied; where Kafka does not answer, by the time since it was last known to have read everything.
"""

from collections.abc import Mapping

Place = tuple[str, int]
"""Topic and partition."""


class Lag:
    """Per partition, since when something waits to be applied."""

    def __init__(self) -> None:
        """Nothing was seen."""
        self._since_s: dict[Place, float] = {}

    def seen(self, places: Mapping[Place, float | None], now_s: float) -> None:
        """What a look at Kafka found.

        Args:
            places: the Kafka timestamp of the oldest record that was not applied, epoch seconds; None where all were.
        """
        self._since_s = {place: now_s if oldest_s is None else oldest_s for place, oldest_s in places.items()}

    def since_s(self, place: Place) -> float | None:
        """Since when the partition's oldest record waits, as last seen."""
        return self._since_s.get(place)

    def seconds(self, now_s: float) -> dict[str, float]:
        """The longest wait of each topic's partitions."""
        longest: dict[str, float] = {}
        for (topic, _), since_s in self._since_s.items():
            longest[topic] = max(longest.get(topic, 0.0), now_s - since_s)
        return longest
