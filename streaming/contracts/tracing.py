"""One trace from an event to its reward: W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/). Pure.

The trace is the publisher's where an event carried a `traceparent`, else one that follows from the request's id; spans follow from the ids of
what was published. So a replay repeats the headers, and nothing has to be kept to continue a trace days later.
"""

import re
from collections.abc import Iterable
from hashlib import blake2b

from msgspec import UNSET, UnsetType

from streaming.contracts.strategies import StrategyRequest

TRACEPARENT = "traceparent"
"""The header's name, in Kafka and in HTTP."""
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SAMPLED = "01"

Headers = tuple[tuple[str, bytes], ...]


def said(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """The `traceparent` of a record; empty where there is none, or none of the standard's form: a hostile one is dropped."""
    values = [value for name, value in headers if name == TRACEPARENT and value]
    return checked(values[0].decode("ascii", "replace")) if len(values) == 1 else ""


def checked(traceparent: str) -> str:
    """The same as level 1 has it; empty where it is none."""
    return f"00{traceparent[2:]}" if _FORM.fullmatch(traceparent) else ""


def span_id(name: str) -> str:
    """The span of what has this id, 16 hexadecimal digits."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def caused_by(request: StrategyRequest) -> str:
    """The `traceparent` that the request was made under: its event's, or a fresh one that follows from its id."""
    if (given := checked(_text(request.traceparent))) != "":
        return given
    trace_id = blake2b(request.request_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"00-{trace_id}-{span_id(f'event {request.request_id}')}-{_SAMPLED}"


def headers_of(request: StrategyRequest, name: str) -> Headers:
    """Headers of a message about this request: the same trace, the span of the message's own id."""
    version, trace_id, _, flags = caused_by(request).split("-")
    return ((TRACEPARENT, f"{version}-{trace_id}-{span_id(name)}-{flags}".encode()),)


def _text(value: str | UnsetType) -> str:
    return "" if value is UNSET else value
