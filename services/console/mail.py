"""Dead letters for the pages: the newest of a sort, one by its id, the original as text."""

from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import nlargest
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from services.letters import Choice, Letter, chosen, where
from services.reading import read_all
from services.settings import Common
from streaming.contracts.topics import DEAD_LETTERS, TOPICS

__all__ = ["Choice", "Letter", "choice", "chosen_of", "lines", "offered", "one", "shelf", "where"]

NEWEST = 100
SHOWN_BYTES = 16 * 1024
MAX_CHARACTERS = 100
TOPIC_NAMES = tuple(topic.name for topic in TOPICS if topic != DEAD_LETTERS)


class Shelf(Struct, frozen=True):
    """The newest letters of a sort, newest first, and how many there are of each topic and reason."""

    newest: list[Letter]
    counts: list[tuple[str, str, int]]
    total: int


def choice(said: Mapping[str, str]) -> Choice:
    """The letters that a query or a form means."""
    topic, reason = said.get("topic", ""), said.get("reason", "")[:MAX_CHARACTERS]
    return Choice(reason, topic if topic in TOPIC_NAMES else "", 0, said.get("all", "") == "yes")


def chosen_of(settings: Common, meant: Choice) -> Iterator[Letter]:
    """The letters that are meant, each once."""
    return chosen(lambda: read_all(settings, DEAD_LETTERS), meant)


def shelf(settings: Common, meant: Choice) -> Shelf:
    """The topic is read through; what is kept of it is bounded."""
    counts: Counter[tuple[str, str]] = Counter()

    def counted() -> Iterator[Letter]:
        for letter in chosen_of(settings, meant):
            counts[letter.topic, letter.reason] += 1
            yield _light(letter)

    newest = nlargest(NEWEST, counted(), key=lambda letter: letter.written_ms)
    told = sorted((topic, reason, count) for (topic, reason), count in counts.items())
    return Shelf(newest, told, counts.total())


def one(settings: Common, identity: str) -> Letter | None:
    """The letter with this id, sent again or not."""
    found = chosen_of(settings, Choice(replayed=True))
    return next((letter for letter in found if letter.id == identity), None)


def offered(settings: Common, meant: Choice) -> list[tuple[str, str, int]]:
    """How many letters behind which a record stands, by topic and reason."""
    counts = Counter((letter.topic, letter.reason) for letter in chosen_of(settings, meant) if letter.topic)
    return sorted((topic, reason, count) for (topic, reason), count in counts.items())


def lines(original: bytes | None) -> list[str]:
    """The original's bytes as text, line by line; what is no text is shown as escapes."""
    text = (original or b"")[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
    return list(chain.from_iterable(_wrapped(line) for line in text.split("\n")))


def _wrapped(line: str, width: int = 2000) -> list[str]:
    return [line[at : at + width] for at in range(0, max(1, len(line)), width)]


def _light(letter: Letter) -> Letter:
    """Without the original, which a list does not show and which may be large."""
    return replace(letter, original=None)
