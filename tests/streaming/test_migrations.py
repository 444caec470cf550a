"""Rows and open states of every version ever written are read; those of a newer one are waited for, without loss."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
import redis
from msgspec.structs import replace

from streaming.batch import Batch
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import SHOP_EVENTS
from streaming.core import State, decode_state, encode_open
from streaming.identity import absorb, freeze
from streaming.keys import BucketKeys
from streaming.migrations import FIRST, OPEN_STEPS, OPEN_VERSION, STEPS, VERSION, NewerRow, migrated
from streaming.open_state import OpenState, decode_open
from streaming.row import Claim, Row, decode_row, encode_row, remembers
from streaming.store import Store
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import NOON_MS, RULES
from tests.streaming.test_merging import BUCKETS, PHONE, USER, Said, event, fixed, outcome, process

ROWS = Path(__file__).parent / "rows"
OPEN_STATES = Path(__file__).parent / "open_states"
LIMIT_S = 60.0


def stored(name: str) -> bytes:
    """A row as a program of a version wrote it."""
    return (ROWS / f"{name}.json").read_bytes().strip()


def test_there_is_a_step_and_an_old_row_for_every_version() -> None:
    """Whoever raises the version writes the step, and keeps rows of the version before."""
    assert sorted(STEPS) == list(range(FIRST, VERSION))
    kept = {int(path.name.split("_")[1]) for path in ROWS.glob("version_*.json")}
    assert kept == set(STEPS)


@pytest.mark.parametrize("name", sorted(path.stem for path in ROWS.glob("*.json")))
def test_an_old_row_is_read_and_written_in_the_current_version(name: str) -> None:
    """Everything that an old row says is in the new one, apart from what a step changed."""
    row = decode_row(stored(name))
    written = encode_row(row)
    assert written.startswith(b'{"schema_version":%d,' % VERSION)
    assert decode_row(written) == row
    old, new = json.loads(stored(name)), json.loads(written)
    changed = {"merged", "claim", "schema_version"}
    assert {k: v for k, v in new.items() if k not in changed} == {k: v for k, v in old.items() if k not in changed}


def test_a_merge_of_the_first_version_goes_on() -> None:
    """Merged, frozen and pointing rows of version 1 mean what they meant; claims they did not keep are the earliest."""
    user, frozen, pointer = (decode_row(stored(f"version_1_{name}")) for name in ("merged", "frozen", "pointer"))
    assert user.merged == {"a1": 0}
    assert (frozen.alias_of, frozen.claim) == (pointer.alias_of, pointer.claim) == ("u1", Claim())
    assert absorb(user, frozen, RULES) == user
    fresh = replace(shop.row_of(shop.viewed(5)), user_id="u1")
    assert remembers(absorb(fresh, frozen, RULES), "m0")
    assert freeze(user, "u9", Claim(NOON_MS, "m")).merged == {"a1": 0}


def test_steps_leave_their_input_alone() -> None:
    """A step makes a new row."""
    old = json.loads(stored("version_1_merged"))
    before = json.dumps(old)
    assert migrated(old)["schema_version"] == VERSION
    assert json.dumps(old) == before


def test_a_row_of_a_newer_program_is_refused_in_words() -> None:
    """Neither guessed at nor our bug: what is missing is a newer program."""
    newer = encode_row(Row("u1", "fused")).replace(b'"schema_version":2', b'"schema_version":%d' % (VERSION + 1))
    with pytest.raises(
        NewerRow, match=rf"schema_version {VERSION + 1} and this program reads up to {VERSION}"
    ) as refused:
        decode_state(newer, None)
    assert isinstance(refused.value, Unavailable)
    assert "u1" not in str(refused.value)


def test_there_is_a_step_and_an_old_open_state_for_every_version() -> None:
    """Open states keep to the same rule; the first version did not say its number."""
    assert sorted(OPEN_STEPS) == list(range(FIRST, OPEN_VERSION))
    assert {int(path.stem.split("_")[1]) for path in OPEN_STATES.glob("*.json")} == {FIRST, *OPEN_STEPS}


@pytest.mark.parametrize("path", sorted(OPEN_STATES.glob("*.json")), ids=lambda path: path.stem)
def test_an_old_open_state_is_read_and_written_in_the_current_version(path: Path) -> None:
    """Strategies and ghosts of every stage, orders, early echoes, settled orders: nothing is lost, and the version added."""
    old = path.read_bytes().strip()
    assert not old.startswith(b'{"schema_version"')
    state = decode_open(old)
    written = encode_open(State(Row("u1", "fused"), state)) or b""
    assert written.startswith(b'{"schema_version":%d,' % OPEN_VERSION)
    assert decode_open(written) == state
    assert json.loads(written) == {"schema_version": OPEN_VERSION} | json.loads(old)


def test_an_open_state_of_a_newer_program_is_refused_in_words() -> None:
    """As a row is."""
    newer = b'{"schema_version":%d,"strategies":7}' % (OPEN_VERSION + 1)
    wanted = rf"an open state of schema_version {OPEN_VERSION + 1} and this program reads up to {OPEN_VERSION}"
    with pytest.raises(NewerRow, match=wanted):
        decode_state(encode_row(Row("u1", "fused")), newer)


def test_an_open_state_of_the_current_version_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot path looks at the first bytes and never at the steps."""
    value = msgspec.json.encode(OpenState())
    monkeypatch.setattr("streaming.open_state.migrated_open", lambda _: pytest.fail("migrated"))
    assert decode_open(value) == OpenState()


def test_a_row_of_the_current_version_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot path looks at the first bytes and never at the steps."""
    value = encode_row(shop.row_of(shop.viewed(1)))
    monkeypatch.setattr("streaming.row.migrated", lambda _: pytest.fail("migrated"))
    assert msgspec.json.decode(value)["schema_version"] == VERSION
    assert decode_row(value) == shop.row_of(shop.viewed(1))


def key_of(prefix: str) -> str:
    """The rows that hold the user's."""
    return BucketKeys.of(prefix, 0).rows


async def _met_and_waited(url: str, prefix: str, row: Row) -> None:
    store = Store(url, prefix, BUCKETS, {})
    processor, _ = process(store)
    records = [Said(n, who.encode(), event(who, f"p{n}", n)) for n, who in enumerate((USER, PHONE, USER))]
    reading = asyncio.create_task(processor.batch(Batch(SHOP_EVENTS.name, 0, records)))
    async with asyncio.timeout(LIMIT_S):
        while not processor.waiting:  # noqa: ASYNC110 -- the product says so by a flag
            await asyncio.sleep(0.02)
        assert not reading.done()
        with redis.Redis.from_url(url) as client:
            client.hset(key_of(prefix), USER, encode_row(row))  # the newer program is gone, and so is what it wrote
        await reading
    await store.close()


def test_a_newer_row_is_waited_for_without_loss(redis_url: str) -> None:
    """Met amid a batch: nothing is applied or dead-lettered while it is there, everything once it can be read."""
    asyncio.run(fixed(redis_url, "newer."))
    row = Row(USER, "fused")
    newer = encode_row(row).replace(b'"schema_version":2', b'"schema_version":%d' % (VERSION + 1))
    with redis.Redis.from_url(redis_url) as client:
        client.hset(key_of("newer."), USER, newer)
    asyncio.run(_met_and_waited(redis_url, "newer.", row))
    found = outcome(redis_url, "newer.")
    assert {view[1] for view in found["profile"]["views"]} == {"p0", "p2"}
    assert found["fates"] == {SHOP_EVENTS.name: {"folded": 3}}
