"""One trace from an event to its reward: what is taken from others, what follows from ids, what a replay repeats."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.contracts.tracing import TRACEPARENT, caused_by, checked, headers_of, said, span_id
from tests.model.sample import request_of

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (GIVEN, GIVEN),
        (GIVEN.replace("00-", "cc-", 1), GIVEN),  # a later version is read as this one
        (GIVEN[:-2] + "00", GIVEN[:-2] + "00"),
        (GIVEN.replace("00-", "ff-", 1), ""),
        (GIVEN.upper(), ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", ""),
        (GIVEN + "-more", ""),
        (GIVEN + "\n", ""),
        ("", ""),
    ],
)
def test_only_the_standards_form_is_taken(value: str, taken: str) -> None:
    """W3C Trace Context, section 3.2."""
    assert checked(value) == taken
    assert said([(TRACEPARENT, value.encode())]) == taken


@given(st.lists(st.tuples(st.sampled_from([TRACEPARENT, "other"]), st.none() | st.binary(max_size=80))))
def test_no_headers_are_a_bug(headers: list[tuple[str, bytes | None]]) -> None:
    """Anybody may write headers."""
    found = said(headers)
    assert found == "" or checked(found) == found


def test_two_parents_are_none() -> None:
    """Which one is meant nobody knows."""
    assert said([(TRACEPARENT, GIVEN.encode())] * 2) == ""


def test_the_publishers_trace_goes_on() -> None:
    """The same trace and flags; the span is that of the message's own id, the same each time."""
    request = msgspec.structs.replace(request_of(3), traceparent=GIVEN)
    again = msgspec.json.decode(msgspec.json.encode(request), type=type(request))
    for name in ("req_1", "str_1", "rew_1"):
        ((header, value),) = headers_of(again, name)
        assert header == TRACEPARENT
        assert value.decode().split("-") == ["00", GIVEN.split("-")[1], span_id(name), "01"]


def test_without_one_it_follows_from_the_requests_id() -> None:
    """A replay repeats it; another request has another one; a request that somebody spoiled is as one without."""
    request = request_of(3)
    other = msgspec.structs.replace(request, request_id="req_other")
    spoiled = msgspec.structs.replace(request, traceparent="00-zz")
    assert checked(caused_by(request)) == caused_by(request) == caused_by(spoiled) != caused_by(other)
    assert b"traceparent" not in msgspec.json.encode(request)
