"""From the bytes of a request to documents: nothing is lost, nothing is inflated beyond the bound, refusals are problems."""

import gzip
import json
import tracemalloc
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway_bodies import Bounds, checked, documents, inflated
from services.gateway_events import judge
from services.gateway_problems import Refused
from streaming.contracts.errors import BadEvent
from tests.services.gateway_samples import NOW_MS

BOUNDS = Bounds(body_bytes=100_000, events=50, event_bytes=20_000, depth=12)
LINES = "application/x-ndjson; charset=utf-8"

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=8), values, max_size=5)


def depth_of(value: object) -> int:
    """How deep a value is nested, by recursion over the value itself."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def name_of(refused: Refused) -> str:
    """The problem's name."""
    return refused.problem.type.removeprefix("/problems/")


@given(st.lists(objects, min_size=1, max_size=10), st.booleans(), st.booleans())
def test_each_form_holds_the_same_documents(events: list[dict[str, object]], spaced: bool, zipped: bool) -> None:  # noqa: FBT001 -- Hypothesis gives arguments by position
    """An array and JSON lines, compact or not, zipped or not, give the documents in their order."""
    separators = (", ", " : ") if spaced else (",", ":")
    array = json.dumps(events, separators=separators, indent=1 if spaced else None).encode()
    lines = ("\r\n" if spaced else "\n").join(json.dumps(each, separators=separators) for each in events).encode()
    for body, media_type in ((array, "application/json"), (lines, LINES)):
        sent = gzip.compress(body, 1) if zipped else body
        read = documents(inflated(sent, "gzip" if zipped else "", BOUNDS), media_type, BOUNDS)
        assert [json.loads(each) for each in read] == events


@given(objects)
def test_one_event_needs_no_array(event: dict[str, object]) -> None:
    """A body that is one object is one document, whitespace around it apart."""
    body = json.dumps(event).encode()
    assert documents(b" \n" + body + b"\n", "", BOUNDS) == [body]


@given(values)
def test_depth_is_counted_as_the_value_is_nested(value: object) -> None:
    """A document passes exactly where its nesting is within the bound; brackets in strings do not count."""
    document = json.dumps({"x": [value, ']}{[\\"']}).encode()
    depth = depth_of(json.loads(document))
    assert checked(document, msgspec.structs.replace(BOUNDS, depth=depth)) == document
    with pytest.raises(BadEvent, match="nested"):
        checked(document, msgspec.structs.replace(BOUNDS, depth=depth - 1))


def answer_to(body: bytes, encoding: str, media_type: str) -> list[bytes] | Refused:
    """Its documents, or why there are none."""
    try:
        return documents(inflated(body, encoding, BOUNDS), media_type, BOUNDS)
    except Refused as refused:
        return refused


@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "br"]), st.sampled_from(["", LINES, "image/png"]))
def test_no_bytes_are_a_bug(body: bytes, encoding: str, media_type: str) -> None:
    """Whatever is sent gives documents or a problem, and each document has a verdict."""
    answer = answer_to(body, encoding, media_type)
    if isinstance(answer, Refused):
        assert 400 <= answer.problem.status < 500
        return
    assert len(judge(answer, NOW_MS, BOUNDS).verdicts) == len(answer)


@pytest.mark.parametrize("encoding", ["gzip", ""])
def test_a_bomb_is_refused_before_it_is_large(encoding: str) -> None:
    """128 MB of zeros in 128 kB is refused with less memory than a few times the bound."""
    bomb = b"0" * (BOUNDS.body_bytes + 1)
    if encoding:
        packer = zlib.compressobj(9, wbits=31)
        bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1 << 7)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as caught:
            inflated(bomb, encoding, BOUNDS)
        assert tracemalloc.get_traced_memory()[1] < 20 * BOUNDS.body_bytes
    finally:
        tracemalloc.stop()
    assert name_of(caught.value) == "too-large"


@pytest.mark.parametrize(
    ("body", "encoding", "media_type", "name"),
    [
        (b"", "", "", "malformed"),
        (b"[]", "", "", "malformed"),
        (b"\n\n", "", LINES, "malformed"),
        (b"[{]", "", "", "malformed"),
        (b"[" * 100_000, "", "", "malformed"),
        (b"no gzip", "gzip", "", "malformed"),
        (gzip.compress(b"{}", mtime=0)[:-3], "gzip", "", "malformed"),
        (b"{}", "br", "", "unsupported-encoding"),
        (b"{}", "", "text/html", "unsupported-media-type"),
        (b"[" + b"1," * 50 + b"1]", "", "", "too-many-events"),
        (b"\n" * 60, "", LINES, "too-many-events"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_problem(body: bytes, encoding: str, media_type: str, name: str) -> None:
    """Each way of being unreadable has its name."""
    with pytest.raises(Refused) as caught:
        documents(inflated(body, encoding, BOUNDS), media_type, BOUNDS)
    assert name_of(caught.value) == name


def test_a_document_is_bounded_in_length_and_depth() -> None:
    """Too long, too deep for the bound, too deep for any parser, no JSON: each is the event's fault."""
    for document in (b'"' + b"x" * 20_000 + b'"', b"[" * 13 + b"]" * 13, b"[" * 9_000 + b"]" * 9_000):
        with pytest.raises(BadEvent):
            checked(document, BOUNDS)
    for document in (b"", b"{", b"\xff", b"[" * 13, b"[" * 9_000, b'{"a":' * 20 + b"}"):
        (verdict,) = judge([document], NOW_MS, BOUNDS).verdicts
        assert (verdict.verdict, verdict.field) == ("refused", "$")
