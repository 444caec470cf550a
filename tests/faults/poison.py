"""Poison: records that no honest shop sends, made by mutation of real ones, and some by hand. A seed makes them; pure.

What a record must come to is told where it is certain by how the record was made; of the rest only that it comes to something.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any

from msgspec import Struct

from streaming.contracts.events import EVENTS
from streaming.contracts.topics import TOPICS

MEGABYTE = 1024 * 1024
LARGEST_BYTES = 6 * MEGABYTE - 20_000
"""Of a value: what the broker takes at most, without the record's key, headers and the batch around it."""
MARK = "@@junk@@"
COMPACTED = {topic.name for topic in TOPICS if topic.cleanup == "compact"}
DEEP = 5_000


class Poison(Struct, frozen=True):
    """One record.

    Args:
        partition: None: the one of its key.
        fate: what it must come to, where that is certain.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    fate: str = ""


JUNK = (
    "null", "true", "false", "0", "-0", "-1", "-0.0", "1.5", "1e400", "-1e400", "1e-400", "1e308", "9" * 400, "-" + "9" * 30,
    "9223372036854775808", "18446744073709551616", "NaN", "Infinity", "-Infinity", "nan", "0x10", "01", "1_000", "+1", ".5",
    '""', '" "', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udc00\\ud800"', '"\\uffff"', '"\\u202e\\u2066"', '"\\u001b[2J"',
    '"NaN"', '"sNaN"', '"Infinity"', '"-0"', '"1e400"', '"1e-400"', '"0.001"', '"1E+999999999"', '"٣"', '"１２"',
    '"' + "x" * 201 + '"', '"' + "x" * 5_000 + '"', '"' + "é" * 200 + '"', '"../../../../etc/passwd"', '"Europe"', '"/"',
    '"$where"', "\"'; DROP TABLE rows; --\"", '"{{7*7}}"', '"%s%n"', '"Asia/Shanghai"', '"email"', '"recommendation"',
    '"2026-03-02T12:00:00Z"', '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59.999999-23:59"', '"2026-02-30T00:00:00Z"',
    '"2026-03-02"', '"2026-03-02T12:00:00"', '"2026-03-02T24:00:00Z"', '"2026-03-02T12:00:60Z"', "1772452800", "1772452800000",
    '"Product Viewed"', '"identify"', '"Clock Advanced"', '"track"', '"USD"', '"usd"', '"XXX"', '"JPY"',
    "[]", "[[]]", "{}", '{"":{}}', '{"__proto__":1}', '{"a":1,"a":2}', "[null]", "[1,2,3]", '[{"product_id":"p1"}]',
    "[" * 100 + "]" * 100, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[" * DEEP, "[" + "1," * 3_000 + "1]",
    '{"' + '":1,"'.join(f"k{n}" for n in range(500)) + '":1}',
    "", ",", "}", "]", '"', "\\", "/*x*/1", "undefined",
)  # fmt: skip
"""JSON texts, and texts that are none, put in the place of a value."""
BYTES = (
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xf8\x88\x80\x80\x80",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"\n",
    b"\xef\xbb\xbf",
    b"\xf0\x9f",
)
"""What is put amid the bytes: null bytes, surrogates and over-long forms in UTF-8, half a character, JSON's own marks."""


def mutated(rng: Random, count: int, real: Sequence[tuple[str, bytes, bytes]], partitions: int = 2) -> Iterator[Poison]:
    """So many mutations of real records (topic, key, value)."""
    for number in range(count):
        topic, key, value = rng.choice(real)
        poisoned = rng.choice(MUTATIONS)(rng, value, number)
        for _ in range(rng.choice((0, 0, 0, 1, 3))):
            poisoned = rng.choice(MUTATIONS)(rng, poisoned, number)
        if len(poisoned) > 900_000:
            poisoned = poisoned[:900_000]
        poisoned_key = _key(rng, key)
        if topic in COMPACTED and poisoned_key is None:
            poisoned_key = b""  # the broker takes no record without a key there
        yield Poison(topic, poisoned_key, poisoned, rng.choice((None, None, None, rng.randrange(partitions))))


def _key(rng: Random, key: bytes) -> bytes | None:
    """Mostly the right one."""
    others: tuple[bytes | None, ...] = (
        None,
        b"",
        b"\x00",
        b"\xff\xfe",
        key + b"\x00",
        key * 200,
        b"somebody else",
        key[:-1],
    )
    return rng.choice(others) if rng.random() < 0.1 else key


def _tree(rng: Random, value: bytes, number: int) -> bytes:
    """Junk in the place of one value, somewhere."""
    message = _parsed(value)
    if message is None:
        return _noise(rng, value, number)
    holder, key = rng.choice(list(_places(message)))
    holder[key] = MARK
    return _spliced(message, rng.choice(JUNK))


def _without(rng: Random, value: bytes, number: int) -> bytes:
    """One field less."""
    message = _parsed(value)
    if message is None:
        return _noise(rng, value, number)
    holder, key = rng.choice(list(_places(message)))
    del holder[key]
    return json.dumps(message).encode()


def _renamed(rng: Random, value: bytes, number: int) -> bytes:
    """The event is another one, with the properties it had; its id is fresh, so that it is no duplicate."""
    message = _parsed(value)
    if not isinstance(message, dict):
        return _noise(rng, value, number)
    message["event"] = rng.choice((*EVENTS, "Cart Viewed", "product viewed", "", "Product Viewed\u0000"))
    message["messageId"] = f"poison-{number}"
    return json.dumps(message).encode()


def _added(rng: Random, value: bytes, number: int) -> bytes:
    """A field that nobody knows, or one twice."""
    message = _parsed(value)
    if not isinstance(message, dict):
        return _noise(rng, value, number)
    message["messageId"] = f"poison-{number}"
    name = rng.choice(("extra", "userId", "timestamp", "properties", "context", "messageId", "", "\ud800", "a" * 3_000))
    text = json.dumps(message)
    return (text[:-1] + f", {json.dumps(name)}: {rng.choice(JUNK)}" + "}").encode("utf-8", "surrogatepass")


def _noise(rng: Random, value: bytes, number: int) -> bytes:
    """Bytes put in, changed, cut off or said twice."""
    del number
    at, to = sorted(rng.randrange(len(value) + 1) for _ in range(2))
    match rng.randrange(6):
        case 0:
            return value[:at]
        case 1:
            return value[:at] + rng.choice(BYTES) + value[at:]
        case 2:
            return value[:at] + rng.choice(BYTES) + value[to:]
        case 3:
            return value[:to] + value[at:]
        case 4:
            return bytes(byte ^ (1 << rng.randrange(8)) if rng.random() < 0.01 else byte for byte in value)
        case _:
            return value.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")))


MUTATIONS: tuple[Callable[[Random, bytes, int], bytes], ...] = (_tree, _tree, _tree, _without, _renamed, _added, _noise)


def _parsed(value: bytes) -> Any:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) and found else None


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value, as its holder and key."""
    waiting = [node]
    while waiting:
        holder = waiting.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            yield holder, key
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])


def _spliced(message: Any, junk: str) -> bytes:
    return json.dumps(message).replace(json.dumps(MARK), junk).encode("utf-8", "surrogatepass")


def bombs(topic: str, user: str, at: str) -> Iterator[Poison]:
    """Each another kind of bomb: one of a megabyte, and two as large as the broker takes them."""
    key = user.encode()

    def event(name: str, properties: str) -> bytes:
        envelope = {
            "messageId": f"bomb-{name}-{len(properties)}", "type": "track", "event": name, "userId": user,
            "timestamp": at, "properties": MARK,
        }  # fmt: skip
        return _spliced(envelope, properties)

    lines = ",".join(['{"product_id":"p1","price":1}'] * (MEGABYTE // 30))
    keys = ",".join(f'"k{number}":{number}' for number in range(MEGABYTE // 18))
    long, digits = "x" * MEGABYTE, "9" * MEGABYTE
    refused = (
        b"[" * LARGEST_BYTES,
        b'{"a":' * (MEGABYTE // 5),
        b"\x00" * MEGABYTE,
        b" " * MEGABYTE + b"[",
        event("Product Viewed", f'{{"product_id":"{long}"}}'),
        event("Product Viewed", f'{{"product_id":{digits}}}'),
        event("Product Added", f'{{"product_id":"p1","currency":"USD","price":{digits}}}'),
        event("Product Added", f'{{"product_id":"p1","currency":"USD","price":"{digits}"}}'),
        event("Order Completed", f'{{"order_id":"o","currency":"USD","products":[{lines}]}}'),
    )
    for value in refused:
        yield Poison(topic, key, value, fate="dead_lettered")
    largest = "x" * (LARGEST_BYTES - MEGABYTE // 64)
    yield Poison(topic, key, event("Products Searched", f'{{"query":"tea","extra":"{largest}"}}'), fate="folded")
    yield Poison(topic, key, event("Products Searched", f'{{"query":"tea",{keys}}}'), fate="folded")
    yield Poison(topic, key, event("Cart Viewed", f'{{"extra":"{long}"}}'), fate="ignored")


def known_bad(topics: Iterable[str], key: bytes) -> Iterator[Poison]:
    """What can be told without reading: nothing that is no JSON is anything but a dead letter, nothing empty but ignored."""
    for topic in topics:
        yield Poison(topic, key, None, fate="ignored")
        yield Poison(topic, key, b"", fate="ignored")
        for junk in JUNK:
            if not _is_json(junk):
                yield Poison(topic, key, junk.encode("utf-8", "surrogatepass") or b" ", fate="dead_lettered")
        for junk_bytes in BYTES:
            yield Poison(topic, key, b'{"messageId": "' + junk_bytes + b'"', fate="dead_lettered")


def _is_json(text: str) -> bool:
    """By the standard, which knows no NaN; a lone surrogate is none of ours either."""
    if re.search(r"\\ud[89a-f]", text):
        return False
    try:
        json.loads(text, parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        return False
    return isinstance(text, str) and text != "" and not text.isspace()
