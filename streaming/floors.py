"""How far Redis must have applied the inputs, by what was sealed or committed. Pure.

A Redis that knows less came back older: a failover, or a restored copy.
"""

from streaming.bucket import Bucket

ByTopic = dict[str, int]


class Floors:
    """By partition and topic (without prefix): the lowest seal there may be, and what is owed after it was lower."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._at: dict[int, ByTopic] = {}
        self._owed: dict[int, ByTopic] = {}
        self._new: set[tuple[str, int]] = set()

    def reached(self, topic: str, partition: int, next_offset: int) -> None:
        """Everything before this offset was applied."""
        at = self._at.setdefault(partition, {})
        at[topic] = max(next_offset, at.get(topic, 0))

    def owe(self, topic: str, partition: int, next_offset: int) -> None:
        """Everything before this offset had been applied, and has to be again."""
        owed = self._owed.setdefault(partition, {})
        owed[topic] = max(next_offset, owed.get(topic, 0))
        self._new.add((topic, partition))

    def applied(self, topic: str, partition: int) -> int | None:
        """The next offset to be applied, as far as it is known here."""
        return self._at.get(partition, {}).get(topic)

    def older(self, home: Bucket) -> ByTopic:
        """Topics of this home bucket's partition of which less is applied than was known; their seals."""
        at = self._at.get(home.number, {})
        return {topic: sealed for topic, floor in at.items() if (sealed := home.sealed(topic, home.number)) < floor}

    def came_back(self, home: Bucket) -> None:
        """What this home bucket says counts from now on; the rest is owed."""
        for topic, sealed in self.older(home).items():
            self.owe(topic, home.number, self._at[home.number][topic])
            self._at[home.number][topic] = sealed

    def newly_owed(self, topic: str, partition: int) -> int | None:
        """Said once per loss: the offset before which everything has to be applied again; None where nothing was lost."""
        if (topic, partition) not in self._new:
            return None
        self._new.discard((topic, partition))
        return self._owed[partition][topic]

    def behind(self, home: Bucket) -> bool:
        """Whether anything is owed in this partition."""
        owed = self._owed.get(home.number, {})
        return any(home.sealed(topic, home.number) < floor for topic, floor in owed.items())
