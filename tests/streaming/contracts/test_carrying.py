"""A record that is carried on inside another keeps what its reader does not know."""

import json

from streaming.contracts.carrying import carrying
from streaming.contracts.codec import decode, encode
from streaming.contracts.strategies import Strategy, StrategyRequest
from tests.streaming.attribution_samples import strategy

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
