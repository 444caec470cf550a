"""Who is forgotten, when, and what stays: by event time alone, whether or not the row has been removed yet."""

import asyncio

import pytest
import redis
from msgspec.structs import replace

from streaming.contracts.codec import to_ms
from streaming.core import Context, State, on_record
from streaming.folding import Folding
from streaming.forgetting import Forgetting
from streaming.keys import BucketKeys, campaign_field
from streaming.open_state import OpenState, Windows
from streaming.profile_parts import EMPTY, Grant, Profile
from streaming.retention import GRACE_MS, expired, forgotten, known, newest_ms, old_marks, removable
from streaming.row import Asked, Row, decode_row, encode_row, erase
from streaming.rules import DAY_MS, MIN_RETENTION_DAYS, Rules
from streaming.stamps import Stamp
from streaming.store import Store
from tests.streaming import attribution_samples
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import NOON_MS, SHOP
from tests.streaming.profile_pairs import BASE
from tests.streaming.test_merging import AT_MS, BUCKETS, PARTITIONS, fixed
from tests.streaming.test_mixed import HOUR_MS, Process

RULES = Rules(profile_retention_days=100)
VIEWED = replace(shop.row_of(shop.viewed(1)), due=())
"""Heard of at noon; no timer is left."""
OVER_MS = NOON_MS + 100 * DAY_MS
REFUSED = {"personalization": Grant(Stamp(NOON_MS), granted=False)}


def context(at_ms: int, rules: Rules = RULES) -> Context:
    """A context at a watermark."""
    return Context(SHOP, rules, Windows(), watermark_ms=at_ms)


def test_a_customer_is_forgotten_at_the_time_and_not_before() -> None:
    """To the millisecond; never where the rule is off, and never a guard."""
    assert not expired(VIEWED, OVER_MS - 1, RULES)
    assert expired(VIEWED, OVER_MS, RULES)
    assert not expired(VIEWED, OVER_MS, Rules())
    for guard in (erase(VIEWED), replace(VIEWED, state="frozen"), Row("a1", "fused", alias_of="u1", state="pointer")):
        assert not expired(guard, OVER_MS, RULES)


@pytest.mark.parametrize("field", [f for f in Profile.__struct_fields__ if f != "sessions"])
def test_everything_known_is_an_activity_while_it_is_new(field: str) -> None:
    """A profile with this field alone is as new as what the field remembers; sums without a time are no activity."""
    alone = Row("u1", "fused", replace(EMPTY, **{field: getattr(BASE, field)}))
    timeless = {"categories", "brands", "money", "price_level", "discounted", "channels"}
    assert (newest_ms(alone) == 0) == (field in timeless)
    assert newest_ms(alone) <= newest_ms(Row("u1", "fused", BASE)) == NOON_MS


def test_what_was_asked_is_an_activity() -> None:
    """A strategy asked for last week is not about somebody forgotten."""
    asked = replace(VIEWED, asked=Asked(issued_ms=(NOON_MS + DAY_MS,)))
    assert not expired(asked, OVER_MS, RULES)
    assert expired(asked, OVER_MS + DAY_MS, RULES)


def test_refusals_and_guards_stay() -> None:
    """Of a customer who refused something or was merged that alone is left; of anybody else nothing."""
    assert forgotten(VIEWED) is None
    granted = {"email": Grant(Stamp(NOON_MS), granted=True)}
    refusing = replace(VIEWED, profile=replace(VIEWED.profile, consent=REFUSED | granted))
    assert forgotten(refusing) == Row("u1", "fused", Profile(consent=REFUSED))
    guarded = replace(VIEWED, applied={"a1|shop.events|0": 7}, merged={"a1": 5})
    left = forgotten(guarded)
    assert left == Row("u1", "fused", applied={"a1|shop.events|0": 7}, merged={"a1": 5})
    assert decode_row(encode_row(left)) == left


def test_a_late_comer_finds_the_same_whether_removed_or_not() -> None:
    """A record after the time is folded as the first of a new customer, so that removal may come when it likes."""
    event = shop.viewed(2, OVER_MS)
    removed, not_yet = (on_record(state, "u1", event, context(OVER_MS)) for state in (None, State(VIEWED)))
    assert removed.state.row == replace(not_yet.state.row, arm=removed.state.row.arm)
    assert removed.effects == not_yet.effects
    in_time = on_record(State(VIEWED), "u1", event, context(OVER_MS - 1))
    assert len(in_time.state.row.profile.views) == 2


def test_removal_waits_for_grace_timers_and_open_strategies() -> None:
    """Removed a day after being forgotten, with index and wishes; not while anything is still to come."""
    wished = replace(shop.row_of(shop.about("Product Added to Wishlist", 1, NOON_MS, price="2.00")), due=())
    late_ms = OVER_MS + GRACE_MS
    open_ = OpenState(
        strategies=on_record(None, "u1", attribution_samples.strategy(1), context(0)).state.open.strategies
    )
    for state, at_ms in (
        (State(wished), late_ms - 1),
        (State(shop.row_of(shop.viewed(1))), late_ms),
        (State(wished, open_), late_ms),
    ):
        assert not Folding({"u1": state}).forget("u1", at_ms, RULES)
    folded = Folding({"u1": State(wished)})
    assert folded.forget("u1", late_ms, RULES)
    folded.settle(context(late_ms))
    assert (folded.writes.rows, folded.writes.due_ms) == ({"u1": None}, {"u1": None})
    assert list(folded.writes.wants.values()) == [False]
    assert folded.states == {"u1": None}


def test_what_is_left_is_written_once() -> None:
    """A row that is nothing but refusals is not written again by the next pass."""
    refusing = State(replace(VIEWED, profile=replace(VIEWED.profile, consent=REFUSED)))
    late_ms = OVER_MS + GRACE_MS
    folded = Folding({"u1": refusing})
    assert folded.forget("u1", late_ms, RULES)
    left = folded.changed["u1"]
    assert removable(left.row, late_ms, RULES)
    assert not Folding({"u1": left}).forget("u1", late_ms, RULES)
    assert known(left.row, late_ms, RULES) == left.row


def test_a_retention_shorter_than_what_is_to_come_is_refused() -> None:
    """Sixty days or none; the message says so."""
    with pytest.raises(ValueError, match="profile_retention_days 30: 0 or at least 60"):
        Rules(profile_retention_days=30)
    assert Rules(profile_retention_days=MIN_RETENTION_DAYS)


def test_the_mark_of_a_campaign_goes_when_it_is_over_and_its_time_has_passed() -> None:
    """Of one that ended, that is unknown, or that begins at another time since; never while it runs, or by default."""
    campaign = attribution_samples.TEA_WEEKS
    start_ms, end_ms = to_ms(campaign.starts_at), to_ms(campaign.ends_at)
    ten = Rules(campaign_mark_days=10)
    known_, gone = campaign_field(campaign.campaign_id, start_ms), campaign_field("a|b", start_ms)
    meta = [known_, gone, "v", f"o|c|{start_ms}"]
    known_campaigns = {campaign.campaign_id: campaign}
    due_ms = start_ms + 10 * DAY_MS
    assert old_marks(meta, due_ms - 1, known_campaigns, ten) == ()
    assert old_marks(meta, due_ms, known_campaigns, ten) == (gone,)
    assert old_marks(meta, end_ms, known_campaigns, ten) == (known_, gone)
    again = {campaign.campaign_id: replace(campaign, starts_at=campaign.ends_at)}
    assert old_marks(meta, due_ms, again, ten) == (known_, gone)
    assert old_marks(meta, end_ms * 2, {}, Rules()) == ()


async def _marks_removed(url: str) -> None:
    process = Process(url, "marks.", Context(SHOP, Rules(campaign_mark_days=10), Windows()))
    forgetting = Forgetting(process.processor, process.timers)
    try:
        for days, left in ((9, True), (11, False)):
            await process.clock(days * DAY_MS / HOUR_MS)
            for _ in range(BUCKETS):
                await process.processor.persistently(lambda: forgetting.turn(range(PARTITIONS)))
            assert [_has_mark(url, number) for number in range(BUCKETS)] == [left] * BUCKETS
        assert campaign_field("gone", AT_MS) not in process.store.bucket(0).meta
        version = process.store.bucket(0).version
        await process.clock(30 * DAY_MS / HOUR_MS)  # the cache is as Redis has it, and nothing is refused
        assert process.store.bucket(0).version > version
    finally:
        await process.store.close()


def _has_mark(url: str, number: int) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.hexists(BucketKeys.of("marks.", number).meta, campaign_field("gone", AT_MS)))


async def _marked(url: str) -> None:
    store = Store(url, "marks.", BUCKETS, {})
    await store.load(range(BUCKETS))
    foldings = {number: Folding({}) for number in range(BUCKETS)}
    for folding in foldings.values():
        folding.writes.meta[campaign_field("gone", AT_MS)] = "done"
    await store.write({number: folding.writes for number, folding in foldings.items()})
    await store.close()


def test_old_marks_are_removed_by_whoever_owns_the_bucket(redis_url: str) -> None:
    """From every bucket, on the real Redis, by event time."""
    asyncio.run(fixed(redis_url, "marks."))
    asyncio.run(_marked(redis_url))
    asyncio.run(_marks_removed(redis_url))
