"""`stratagem dead-letters`: what could not be processed, why, and sending it again once the cause is mended."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from services.reading import TopicRecord, printable
from services.settings import Common


class Letter(Struct, frozen=True):
    """One dead letter: the original bytes and the reason's facts, as its headers have them.

    `truncated` is true when the original was too large to be kept whole; such a letter cannot be sent again.
    """

    reason: str
    blame: str
    field: str
    value: str
    wanted: str
    topic: str
    partition: int
    offset: int
    at: str
    truncated: bool
    key: bytes | None
    original: bytes | None


def letter(record: TopicRecord) -> Letter:
    """A record of `dead-letters` as a letter; a missing header reads as empty."""

    def text(name: str) -> str:
        return record.headers.get(name, b"").decode("utf-8", "backslashreplace")

    return Letter(
        reason=text("reason"),
        blame=text("blame"),
        field=text("field"),
        value=text("value"),
        wanted=text("wanted"),
        topic=text("topic"),
        partition=int(text("partition") or -1),
        offset=int(text("offset") or -1),
        at=text("at"),
        truncated="sha256" in record.headers,
        key=record.key,
        original=record.value,
    )


def selected(records: Iterable[TopicRecord], reason: str, topic: str) -> Iterator[Letter]:
    """The letters with this reason and origin; empty means any."""
    for record in records:
        found = letter(record)
        if reason in ("", found.reason) and found.topic.endswith(topic):
            yield found


def line(found: Letter) -> str:
    """A letter in one line for a terminal."""
    where = f"{found.topic}[{found.partition}]@{found.offset}" if found.topic else "(no record)"
    said = f"{found.field}: got {found.value}, wanted {found.wanted}" if found.field else found.wanted
    return printable(f"{found.at} {where} {found.reason} ({found.blame}) {said}")


def again(letters: Iterable[Letter], settings: Common) -> tuple[list[tuple[str, bytes, bytes]], int]:
    """The original bytes under their original key for where they came from, ready to be published.

    Safe to repeat: messages that were applied meanwhile are recognised by their messageId.

    Returns:
        (topic with prefix, key, value) of each, and how many cannot go: of those only a prefix was kept, or they tell of
        something that is no record of a topic.
    """
    whole, left = [], 0
    for found in letters:
        if found.truncated or found.original is None or not found.topic:
            left += 1
            continue
        name = found.topic if found.topic.startswith(settings.topic_prefix) else settings.topic_prefix + found.topic
        whole.append((name, found.key or b"", found.original))
    return whole, left
