"""`stratagem dead-letters` on a real Kafka: what is listed, what is sent again, and what cannot be, in words."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from kafka import TopicPartition

from services import letters_replay
from services.clients import admin, producer, topic_name
from services.reading import TopicRecord, read_all
from services.settings import Common, load
from services.topics import ensure_topics
from streaming.contracts.topics import CATALOG, DEAD_LETTERS, SHOP_EVENTS, TopicSpec
from streaming.dead_letters import ATTEMPT_HEADER, LETTER_HEADER, dead_letter, without_record
from streaming.effects import Publish
from tests.services.test_cli import environ, invoke

__all__ = ["environ"]  # a fixture

LARGE = b"[" + b" " * 300_000 + b"]"


class Shop:
    """Topics of the test's own."""

    def __init__(self, environ: dict[str, str]) -> None:
        """Make the topics."""
        self.environ = environ
        self.settings = load(Common, environ)
        ensure_topics(self.settings)
        self._producer = producer(self.settings)

    def send(self, topic: TopicSpec, key: bytes | None, value: bytes | None, headers: Any = ()) -> tuple[int, int]:
        """Publish one record; its partition and offset."""
        name = topic_name(self.settings, topic)
        told = self._producer.send(name, key=key, value=value, headers=list(headers)).get(timeout=60)
        return told.partition, told.offset

    def letter(self, topic: TopicSpec, key: bytes | None, value: bytes, place: tuple[int, int], **facts: Any) -> None:
        """Publish the letter of a record."""
        partition, offset = place
        self.write(
            dead_letter(
                topic=topic.name, partition=partition, offset=offset, key=key, value=value, at_ms=1_000,
                **{"reason": "bad_field", "field": "userId", "found": "3", "wanted": "str", **facts},
            )
        )  # fmt: skip

    def write(self, letter: Publish) -> None:
        """Publish a letter."""
        self.send(DEAD_LETTERS, letter.key, letter.value, letter.headers)

    def refused(self, topic: TopicSpec, key: bytes | None, value: bytes, **facts: Any) -> tuple[int, int]:
        """A record that was dead-lettered, with its letter."""
        place = self.send(topic, key, value)
        self.letter(topic, key, value, place, **facts)
        return place

    def again(self, topic: TopicSpec) -> list[TopicRecord]:
        """The records of a topic that were sent again."""
        return [record for record in read_all(self.settings, topic) if LETTER_HEADER in record.headers]

    def run(self, arguments: str, text: str = "") -> tuple[int, str]:
        """`stratagem dead-letters ...`."""
        return invoke(["dead-letters", *arguments.split()], self.environ, text)

    def listed(self, arguments: str = "") -> list[dict[str, Any]]:
        """What `list` tells, as JSON."""
        code, said = self.run(f"list --json {arguments}")
        assert code == 0, said
        return [msgspec.json.decode(line) for line in said.splitlines()]


@pytest.fixture
def shop(environ: dict[str, str]) -> Iterator[Shop]:
    """An installation of the test's own."""
    made = Shop(environ)
    yield made
    made._producer.close()


def test_the_same_bytes_go_back_under_the_same_key_and_once(shop: Shop) -> None:
    """Without a key too; the record names its letter, which is not offered a second time."""
    shop.refused(SHOP_EVENTS, b"u1", b'{"a": "\xff"}')
    shop.refused(SHOP_EVENTS, None, b"[")
    assert shop.run("replay --yes") == (0, shop_says(2))
    again = shop.again(SHOP_EVENTS)
    assert {(record.key, record.value) for record in again} == {(b"u1", b'{"a": "\xff"}'), (None, b"[")}
    told = {each["id"]: each["replayed"] for each in shop.listed("--all")}
    assert {record.headers[LETTER_HEADER].decode() for record in again} == set(told)
    assert set(told.values()) == {True}
    assert shop.listed() == []
    assert shop.run("replay --yes") == (0, "0 sent again, 0 cannot be, 0 tell of no record\n")
    assert len(shop.again(SHOP_EVENTS)) == 2


def shop_says(count: int) -> str:
    """The output of a replay of so many."""
    return f"{count} of shop.events, bad_field\n{count} sent again, 0 cannot be, 0 tell of no record\n"


def test_a_second_failure_is_a_new_letter_that_names_the_first(shop: Shop) -> None:
    """Sent again and refused again: offered anew, with the number of its failures."""
    shop.refused(SHOP_EVENTS, b"u1", b"[")
    first = shop.listed()[0]
    shop.run("replay --yes")
    [record] = shop.again(SHOP_EVENTS)
    assert record.headers[ATTEMPT_HEADER] == b"1"
    shop.letter(SHOP_EVENTS, b"u1", b"[", (record.partition, record.offset), headers=record.headers.items())
    [second] = shop.listed()
    assert (second["attempt"], second["replay_of"], second["replayed"]) == (2, first["id"], False)
    assert f"[failure 2, after {first['id']}]" in shop.run("list")[1]
    assert shop.run("replay --yes") == (0, shop_says(1))
    assert [each.headers[ATTEMPT_HEADER] for each in shop.again(SHOP_EVENTS)] == [b"1", b"2"]


def test_nobody_is_sent_anything_before_the_answer(shop: Shop) -> None:
    """A replay says what it would send and asks; no answer, or no, sends nothing; so does a dry run."""
    shop.refused(SHOP_EVENTS, b"u1", b"[")
    for answer in ("", "n\n"):
        code, said = shop.run("replay", answer)
        assert code == 1
        assert "1 of shop.events, bad_field" in said
        assert "Send 1 again? [y/N]" in said
    assert shop.run("replay --dry-run") == (0, "1 would be sent again, 0 cannot be, 0 tell of no record\n")
    assert shop.again(SHOP_EVENTS) == []
    assert shop.run("replay", "y\n")[0] == 0
    assert len(shop.again(SHOP_EVENTS)) == 1


def test_letters_are_chosen_by_reason_topic_time_and_number(shop: Shop) -> None:
    """The options narrow what is listed, and what is sent; a topic that is none of ours is said."""
    shop.refused(SHOP_EVENTS, b"u1", b"[")
    shop.refused(CATALOG, b"p1", b"{", reason="bad_reference")
    assert {each["topic"] for each in shop.listed()} == {"shop.events", "shop.catalog"}
    assert [each["reason"] for each in shop.listed("--reason bad_reference")] == ["bad_reference"]
    assert [each["topic"] for each in shop.listed(f"--topic {shop.settings.topic_prefix}shop.events")] == [
        "shop.events"
    ]
    assert len(shop.listed("--limit 1")) == 1
    assert len(shop.listed("--since 1h")) == 2
    assert shop.listed("--since 2100-01-01") == []
    assert shop.run("replay --since 2100-01-01 --yes")[1] == "0 sent again, 0 cannot be, 0 tell of no record\n"
    assert shop.run("list --topic shop.event")[0] == 2
    assert shop.run("list --since yesterday")[0] == 2
    assert "1 sent again" in shop.run("replay --topic shop.catalog --yes")[1]
    assert shop.again(SHOP_EVENTS) == []
    assert [record.key for record in shop.again(CATALOG)] == [b"p1"]


def test_a_record_too_large_for_its_letter_is_taken_from_its_topic(shop: Shop) -> None:
    """Whole, compared by its hash; a key that was too long likewise."""
    shop.refused(SHOP_EVENTS, b"u1", b"{}")
    shop.refused(SHOP_EVENTS, b"u1", LARGE)
    shop.refused(SHOP_EVENTS, b"k" * 5000, b"[]")
    shop.refused(SHOP_EVENTS, b"u1", b"{}")
    assert [each["truncated"] for each in shop.listed()].count(True) == 2
    assert shop.run("replay --yes")[0] == 0
    again = [(record.key, record.value) for record in shop.again(SHOP_EVENTS)]
    assert sorted(again) == sorted([(b"u1", b"{}"), (b"u1", LARGE), (b"k" * 5000, b"[]"), (b"u1", b"{}")])


def test_what_is_gone_is_refused_in_words(shop: Shop) -> None:
    """The record was deleted from its topic, another stands there, or there never was one: exit 1 and why; the rest is sent."""
    partition, offset = shop.refused(SHOP_EVENTS, b"u1", LARGE)
    shop.letter(SHOP_EVENTS, b"u1", LARGE + b"]", shop.send(SHOP_EVENTS, b"u1", LARGE))
    shop.refused(SHOP_EVENTS, b"u2", b"[")
    shop.write(without_record(user_id="u", about={}, reason="bug", at_ms=0, field="", found="", wanted="code"))
    client = admin(shop.settings)
    client.delete_records({TopicPartition(topic_name(shop.settings, SHOP_EVENTS), partition): offset + 1})
    client.close()
    code, said = shop.run("replay --yes")
    assert code == 1
    assert (
        f"shop.events[{partition}]@{offset} cannot be sent again: only the first 65536 bytes were kept, and the "
        in said
    )
    assert "does not keep the record any more" in said
    assert "another record stands where it stood" in said
    assert said.endswith("1 sent again, 2 cannot be, 1 tell of no record\n")


def test_an_old_product_does_not_come_after_a_newer_one(shop: Shop) -> None:
    """Of a compacted topic the last record of a key counts: bytes that were corrected meanwhile stay where they are."""
    shop.refused(CATALOG, b"p1", b"{", reason="bad_reference")
    _, newer = shop.send(CATALOG, b"p1", json.dumps({"product_id": "p1"}).encode())
    code, said = shop.run("replay --yes")
    assert code == 1
    assert "a newer record of its key stands at shop.catalog[" in said
    assert f"]@{newer}" in said
    assert shop.again(CATALOG) == []


def test_a_letter_may_not_send_anything_anywhere(shop: Shop) -> None:
    """Anybody who may write letters could name any topic: only ours are written, dead letters themselves excepted."""
    for name in ("payments", "dead-letters"):
        shop.letter(TopicSpec(name, "", "delete"), b"u", b"[", (0, 0))
    code, said = shop.run("replay --yes")
    assert code == 1
    assert "'payments' is no topic of ours" in said
    assert said.endswith("0 sent again, 2 cannot be, 0 tell of no record\n")


def test_a_replay_that_ends_amid_its_work_offers_the_rest(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Markers follow each round: what was marked stays so, what was sent without a marker is sent once more."""
    for number in range(6):
        shop.refused(SHOP_EVENTS, f"u{number}".encode(), b"[")
    monkeypatch.setattr(letters_replay, "ROUND_LETTERS", 2)
    marked = letters_replay._marker
    left = iter(range(4))

    def dies(letter: Any) -> Publish:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return marked(letter)

    monkeypatch.setattr(letters_replay, "_marker", dies)
    assert shop.run("replay --yes")[0] == 130
    monkeypatch.setattr(letters_replay, "_marker", marked)
    assert len(shop.listed()) == 2
    assert shop.run("replay --yes")[0] == 0
    assert {record.key for record in shop.again(SHOP_EVENTS)} == {f"u{number}".encode() for number in range(6)}
    assert len(shop.again(SHOP_EVENTS)) == 8
