"""The bytes of a request → the documents in it: one event, a JSON array or JSON lines, inflated within a bound."""

import gzip
import io
import re
import zlib
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from services.gateway_problems import refusal
from streaming.contracts.codec import UNREADABLE
from streaming.contracts.errors import BadEvent

JSON_TYPES = frozenset({"", "application/json", "text/plain"})
"""`text/plain` is what browsers send without asking first; it is read as JSON."""
LINES_TYPES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})

T = TypeVar("T")
_RAW = msgspec.json.Decoder(Raw)
_ARRAY = msgspec.json.Decoder(list[Raw])
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_SHOWN = 200


class Bounds(Struct, frozen=True):
    """What one request may hold.

    Args:
        body_bytes: as sent, and again after inflating.
        events: documents in one body.
        event_bytes: of one document.
        depth: of nested objects and arrays in one document.
    """

    body_bytes: int
    events: int
    event_bytes: int
    depth: int


def decoded(decoder: "msgspec.json.Decoder[T]", document: bytes | Raw, otherwise: str) -> T:
    """What a document holds.

    Raises:
        Refused: it cannot be read as that; `otherwise` begins the sentence that says so.
    """
    try:
        return decoder.decode(document)
    except UNREADABLE as error:
        raise refusal("malformed", f"{otherwise}: {error}") from None


def inflated(body: bytes, encoding: str, bounds: Bounds) -> bytes:
    """The body without its content coding; never more than one byte over the bound is inflated.

    Raises:
        Refused: another coding than gzip, no gzip, or too large.
    """
    if encoding in ("", "identity"):
        if len(body) > bounds.body_bytes:
            raise too_large(bounds)
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise refusal("unsupported-encoding", f"got {encoding[:_SHOWN]!r}, wanted gzip or none")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            whole = file.read(bounds.body_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise refusal("malformed", f"the body is no gzip: {error}") from None
    if len(whole) > bounds.body_bytes:
        raise too_large(bounds)
    return whole


def documents(body: bytes, media_type: str, bounds: Bounds) -> list[bytes]:
    """The documents of a body in their order, each the bytes as they came; none is looked into yet.

    Raises:
        Refused: another media type, no JSON, no document at all, or too many.
    """
    name = media_type.partition(";")[0].strip().lower()
    if name in LINES_TYPES:
        found = _lines(body, bounds)
    elif name in JSON_TYPES:
        found = _elements(body, bounds)
    else:
        wanted = "application/json or application/x-ndjson"
        raise refusal("unsupported-media-type", f"got {name[:_SHOWN]!r}, wanted {wanted}")
    if not found:
        raise refusal("malformed", "the body holds no event")
    return found


def checked(document: bytes, bounds: Bounds) -> bytes:
    """The same document; whether it is JSON, the contract says.

    Raises:
        BadEvent: it is too long, or nested too deep.
    """
    if len(document) > bounds.event_bytes:
        raise BadEvent("$", f"{len(document)} bytes", f"an event of at most {bounds.event_bytes} bytes")
    if document.count(b"{") + document.count(b"[") > bounds.depth and _depth(document, bounds) > bounds.depth:
        raise BadEvent("$", "deeper nesting", f"objects and arrays nested at most {bounds.depth} deep")
    return document


def too_large(bounds: Bounds) -> Exception:
    """What is raised of a body that is too large, as sent or inflated."""
    return refusal("too-large", f"at most {bounds.body_bytes} bytes are read, before and after inflating")


def _lines(body: bytes, bounds: Bounds) -> list[bytes]:
    if body.count(b"\n") > bounds.events:  # counted first: a million empty lines are a million objects
        raise _too_many(bounds)
    found = [line for each in body.split(b"\n") if (line := each.strip())]
    if len(found) > bounds.events:
        raise _too_many(bounds)
    return found


def _elements(body: bytes, bounds: Bounds) -> list[bytes]:
    """The elements of an array, or the one document that is none."""
    text = body.strip()
    if not text.startswith(b"["):
        return [text] if text else []
    try:
        found = _ARRAY.decode(text)
    except RecursionError:
        raise refusal("malformed", f"an event is nested deeper than {bounds.depth} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal("malformed", f"the body is no JSON in UTF-8: {error}") from None
    if len(found) > bounds.events:
        raise _too_many(bounds)
    return [bytes(each) for each in found]


def _depth(document: bytes, bounds: Bounds) -> int:
    """How deep a document is nested; brackets in strings are text. What is no JSON has no depth that anybody would reach."""
    try:
        _RAW.decode(document)
    except RecursionError:
        return bounds.depth + 1
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0
    depth = deepest = 0
    for token in _TOKEN.finditer(document):
        first = token[0][:1]
        depth += (first in b"[{") - (first in b"]}")
        deepest = max(deepest, depth)
    return deepest


def _too_many(bounds: Bounds) -> Exception:
    return refusal("too-many-events", f"at most {bounds.events} events are read from one request")
