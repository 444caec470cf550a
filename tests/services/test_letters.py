"""What is known of dead letters: each once, those that were sent again apart, and nothing believed of their headers but the form."""

import msgspec
import pytest

from services.letters import Choice, as_json, chosen, letter, line
from services.reading import TopicRecord
from streaming.dead_letters import ATTEMPT_HEADER, LETTER_HEADER, Headers, dead_letter, replay_marker
from streaming.effects import Publish


class Raw:
    """A record as kafka-python gives it."""

    def __init__(self, effect: Publish, offset: int, written_ms: int = 5_000) -> None:
        """As it stands in the topic."""
        self.key, self.value, self.headers = effect.key, effect.value, list(effect.headers)
        self.topic, self.partition, self.offset, self.timestamp = effect.topic, 0, offset, written_ms


def made(offset: int = 7, value: bytes = b"{", reason: str = "undecodable", headers: Headers = ()) -> Publish:
    """The letter of a record at shop.events[1]."""
    return dead_letter(
        topic="shop.events", partition=1, offset=offset, key=b"u", value=value, reason=reason, at_ms=1_000,
        field="$", found="{", wanted="JSON", headers=headers,
    )  # fmt: skip


def read(*effects: Publish) -> list[TopicRecord]:
    """The topic, one second a record."""
    return [TopicRecord(Raw(effect, place, 1000 * place)) for place, effect in enumerate(effects)]


def offsets(choice: Choice, *effects: Publish) -> list[int]:
    """Offsets of the letters that are meant."""
    return [found.offset for found in chosen(lambda: read(*effects), choice)]


def marker(effect: Publish) -> Publish:
    """The marker that a letter was sent again."""
    [record] = read(effect)
    return replay_marker(
        letter(record).id, effect.key, {"topic": "shop.events", "partition": "1", "offset": "7", "at": ""}
    )


def test_a_letter_that_was_published_twice_is_one() -> None:
    """Whoever wrote it may have been killed before it knew that Kafka had it."""
    assert offsets(Choice(), made(7), made(8), made(7)) == [7, 8]


def test_a_record_at_the_same_place_of_a_new_topic_is_another_letter() -> None:
    """Offsets repeat where a topic was deleted and made again; the bytes do not."""
    assert offsets(Choice(), made(7), made(7, b"[")) == [7, 7]


def test_what_was_sent_again_is_not_offered_again() -> None:
    """The marker may stand before or after other letters; asked for, the letter is shown as sent."""
    topic = (made(7), made(8), marker(made(7)), made(7))
    assert offsets(Choice(), *topic) == [8]
    shown = list(chosen(lambda: read(*topic), Choice(replayed=True)))
    assert [(each.offset, each.replayed) for each in shown] == [(7, True), (8, False)]
    assert line(shown[0]).endswith("[sent again]")


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        (Choice(reason="bug"), [8]),
        (Choice(topic="shop.events"), [7, 8]),
        (Choice(topic="events"), []),
        (Choice(since_ms=1000), [8]),
    ],
)
def test_letters_are_chosen_by_reason_topic_and_time(choice: Choice, found: list[int]) -> None:
    """Each narrows; a topic is meant by its whole name."""
    assert offsets(choice, made(7), made(8, reason="bug")) == found


def test_a_second_failure_names_the_first() -> None:
    """The record that was sent again carries its letter's id and how often it had failed."""
    headers = ((LETTER_HEADER, b"let_1"), (ATTEMPT_HEADER, b"2"))
    [found] = chosen(lambda: read(made(headers=headers)), Choice())
    assert (found.replay_of, found.attempt) == ("let_1", 3)
    assert line(found).endswith("[failure 3, after let_1]")


@pytest.mark.parametrize("attempt", [b"", b"x", b"-1", b"1" * 5000, "\u00b2".encode(), None])
def test_hostile_headers_are_no_numbers(attempt: bytes | None) -> None:
    """Anybody may write headers: what is no number counts as a first failure."""
    [found] = chosen(lambda: read(made(headers=((LETTER_HEADER, b"\xff\x1b"), (ATTEMPT_HEADER, attempt)))), Choice())
    assert found.attempt in (2, 1112)
    assert "\x1b" not in line(found)


def test_json_says_everything_but_the_bytes() -> None:
    """One object: reason, topic, partition, offset, field, times, id."""
    [found] = chosen(lambda: read(made(), marker(made(9))), Choice())
    told = msgspec.json.decode(as_json(found))
    assert (told["reason"], told["topic"], told["partition"], told["offset"]) == ("undecodable", "shop.events", 1, 7)
    assert (told["field"], told["key"], told["kept_bytes"], told["replayed"]) == ("$", "u", 1, False)
    assert told["at"] == "1970-01-01T00:00:01+00:00"
    assert told["written_at"] == "1970-01-01T00:00:00.000+00:00"
    assert told["id"].startswith("let_")
