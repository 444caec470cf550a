"""A record that is carried on inside another keeps what its reader does not know."""

import contextlib
import json
import sys
from typing import Any

from msgspec.structs import replace

from streaming import attribution
from streaming.closing import told
from streaming.contracts.carrying import ROOM, SaidStrategy, as_said, carrying
from streaming.contracts.codec import decode, encode
from streaming.contracts.errors import BadEvent
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy, StrategyRequest
from streaming.open_state import OpenState, Step, Windows, decode_open
from tests.streaming.attribution_samples import SHELF, at, echo, order, strategy

MADE = strategy(1)


def test_what_a_newer_writer_said_is_carried_on() -> None:
    """At every depth; and a strategy reads as if the reader had written it."""
    said = json.loads(encode(MADE.request))
    said["mood"] = "curious"
    said["candidates"][0]["weight_g"] = 250
    value = json.dumps(said, ensure_ascii=False).encode()
    assert decode(value, StrategyRequest) == MADE.request
    written = carrying(MADE, "request", value)
    assert json.loads(written)["request"] == said
    assert decode(written, Strategy) == MADE


def test_our_own_records_have_the_bytes_they_had() -> None:
    """Nothing is written otherwise where reader and writer are of one version."""
    assert carrying(MADE, "request", encode(MADE.request)) == encode(MADE)


def test_what_nobody_could_read_again_is_not_carried() -> None:
    """Bytes that are no JSON, or no UTF-8, where we had skipped over them."""
    whole = encode(MADE.request)
    for junk in (b'{"x":"\\ud800", ', b'{"x":"\xff", ', b'{"x":nothing, '):
        assert json.loads(carrying(MADE, "request", junk + whole[1:]))["request"] == json.loads(whole)


def newer() -> dict[str, Any]:
    """A strategy in which a newer writer said more, at every depth of its request and policy."""
    said: dict[str, Any] = json.loads(encode(MADE))
    said["request"]["mood"] = "curious"
    said["request"]["candidates"][0]["weight_g"] = 250
    said["policy"]["draw"] = {"seed": 7}
    return said


def published(*steps: Step) -> list[dict[str, Any]]:
    """The rewards of some steps as they are published."""
    effects = [effect for step in steps for effect in told(step, "u1", Windows()).effects]
    return [json.loads(effect.value or b"") for effect in effects]


def told_of(value: bytes) -> list[dict[str, Any]]:
    """Every stage of a strategy's rewards, the open state stored and read between them."""
    read = as_said(decode(value, Strategy), value)
    opened = attribution.on_strategy(OpenState(), read, at(0), Windows()).state
    seen = attribution.on_event(opened, echo("Promotion Clicked", MADE, 1, "m1"), SHELF, at(1), Windows()).state
    closed = attribution.on_time(decode_open(encode(seen)), at(80), Windows())
    late = attribution.on_event(decode_open(encode(closed.state)), order("o1", 2, "p1"), SHELF, at(80), Windows())
    return published(closed, late)


def test_rewards_repeat_what_a_newer_writer_said() -> None:
    """Response, final and correction: request and policy as they came, the rest as without it."""
    said = newer()
    plain, more = told_of(encode(MADE)), told_of(json.dumps(said, ensure_ascii=False).encode())
    assert [reward["stage"] for reward in more] == ["response", "final", "correction"]
    for one, other in zip(plain, more, strict=True):
        assert (other["request"], other["policy"]) == (said["request"], said["policy"])
        assert other | {"request": one["request"], "policy": one["policy"]} == one
        assert decode(encode(other), Reward) == decode(encode(one), Reward)


def test_our_own_strategies_are_kept_as_they_are() -> None:
    """Nothing is kept twice where reader and writer are of one version."""
    assert as_said(MADE, encode(MADE)) is MADE
    more = json.dumps(newer(), ensure_ascii=False).encode()
    read = as_said(decode(more, Strategy), more)
    assert isinstance(read, SaidStrategy)
    assert json.loads(read.said_policy) == newer()["policy"]


def test_junk_in_a_strategy_is_not_repeated() -> None:
    """What a strict reader could not read again (no UTF-8, where we skip over it) is left out of rewards, and stops nothing."""
    whole = encode(MADE)
    value = whole.replace(b'"request":{', b'"request":{"x":"\xff",', 1)
    assert value != whole
    assert decode(value, Strategy) == MADE
    assert told_of(value) == told_of(whole)


def nested(levels: int) -> bytes:
    """A strategy in whose request lies something unknown so deep."""
    return encode(MADE).replace(b'"request":{', b'"request":{"x":' + b"[" * levels + b"0" + b"]" * levels + b",", 1)


def test_what_lies_too_deep_is_not_repeated() -> None:
    """What only just can be read here could not be read inside an open state: it would stop its customer for ever."""
    readable = 0
    with contextlib.suppress(BadEvent):
        for readable in range(0, 4 * sys.getrecursionlimit(), 10):
            decode(nested(readable), Strategy)
    value = nested(readable - 30)
    assert readable > 300
    assert as_said(decode(value, Strategy), value) == MADE
    shallow = nested(readable - 30 - 2 * ROOM)
    assert isinstance(as_said(decode(shallow, Strategy), shallow), SaidStrategy)


def test_rewards_of_ghosts_and_two_arms_are_as_they_were() -> None:
    """A mark added at publication stands beside what is repeated."""
    opened = attribution.on_ghost(OpenState(), MADE.request, at(0), Windows()).state
    step = attribution.on_time(opened, at(200), Windows())
    [effect] = told(step, "u1", Windows(), mixed_arms=True).effects
    assert effect.value == encode(replace(step.rewards[0], mixed_arms=True))
