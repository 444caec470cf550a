"""One customer as one JSON value: the profile, what was asked, the guards against replays. Pure."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from streaming.contracts.kinds import Arm
from streaming.contracts.strategies import Trigger
from streaming.migrations import VERSION, migrated
from streaming.profile_parts import Profile
from streaming.rules import Rules
from streaming.stamps import digest

MAX_ISSUED = 32
"""Times of requests remembered; more than a careful daily cap needs for a week."""
_DIGEST_BYTES = 8


class Due(Struct, frozen=True, gc=False, order=True):
    """A timer of this customer. The timer index only finds it; what fires is what the row says.

    Args:
        at_ms: event time at which it fires.
        cause: what makes its request's id: the due time of a silence, a campaign's id and start.
    """

    at_ms: int
    trigger: Trigger
    cause: str
    context: dict[str, str] = {}


class Asked(Struct, frozen=True, gc=False, omit_defaults=True):
    """What was asked of this customer. It follows the order between topics; the profile does not.

    Args:
        issued_ms: event times of the last requests (ghosts included), ascending.
        last_ms: trigger → event time of its last request.
        fired: trigger → due time of the last timer that fired, so that it does not fire twice.
        campaigns: causes of the last campaign starts that were scheduled, so that none is scheduled twice.
        price_minor: product → price at which its last drop was told.
    """

    issued_ms: tuple[int, ...] = ()
    last_ms: dict[str, int] = {}
    fired: dict[str, int] = {}
    campaigns: tuple[str, ...] = ()
    price_minor: dict[str, int] = {}


class Claim(Struct, frozen=True, array_like=True, order=True):
    """Who said that an anonymous id is a user's: event time and id of the identifying message. The earliest is least."""

    at_ms: int = 0
    message_id: str = ""


class Row(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="schema_version", tag=VERSION):
    """One customer. Its version is written first, as `schema_version` (see `migrations.py`).

    Args:
        arm: fixed at first sight (`arms.assign`).
        applied: `alias|topic|partition` → last offset applied; a record at or below it is a replay.
        message_ids: digests of the last message ids, oldest first, 8 bytes each.
        due: timers, by time.
        alias_of: the user this anonymous row was merged into; its events belong there.
        claim: by what it was merged.
        state: `frozen` while a merge is under way, `pointer` after it, `erased` a tombstone with its guards.
        merged: anonymous id → event time of the claim, of the ids merged into this row.
        conflicts: anonymous ids that were said to be this customer's and are somebody else's, the last ones.
        mixed_arms: merged from rows of two arms: no evidence for either.
    """

    user_id: str
    arm: Arm
    profile: Profile = Profile()
    asked: Asked = Asked()
    applied: dict[str, Annotated[int, Meta(ge=0)]] = {}
    message_ids: bytes = b""
    due: tuple[Due, ...] = ()
    alias_of: str | None = None
    state: Literal["live", "frozen", "pointer", "erased"] = "live"
    merged: dict[str, int] = {}
    claim: Claim | None = None
    conflicts: tuple[str, ...] = ()
    mixed_arms: bool = False

    @property
    def erased(self) -> bool:
        """Whether the customer was erased: nothing is folded and nothing asked any more."""
        return self.state == "erased"


_DECODER = msgspec.json.Decoder(Row)
_ENCODER = msgspec.json.Encoder(order="deterministic")
_CURRENT = b'{"schema_version":%d,' % VERSION
"""What a row of this version begins with: looked at instead of decoding twice."""


def encode_row(row: Row) -> bytes:
    """Canonical JSON: equal rows have equal bytes."""
    return _ENCODER.encode(row)


def decode_row(value: bytes) -> Row:
    """A row as stored by us, migrated where an older program wrote it.

    What cannot be decoded is our bug and raises msgspec's error.

    Raises:
        NewerRow: a newer program wrote it.
    """
    if value.startswith(_CURRENT):
        return _DECODER.decode(value)
    return _DECODER.decode(msgspec.json.encode(migrated(msgspec.json.decode(value))))


def applied_key(alias: str, topic: str, partition: int, incarnation: str = "") -> str:
    """Key of `Row.applied`: the record's key (user or anonymous id), its unprefixed topic and partition.

    Args:
        incarnation: the topic's id; empty where Kafka gives none. One made anew begins at offset 0 again.
    """
    return f"{alias}|{topic}@{incarnation}|{partition}" if incarnation else f"{alias}|{topic}|{partition}"


def is_replay(row: Row, key: str, offset: int) -> bool:
    """Whether the record at this offset was applied already; a key that an older program left is of any incarnation."""
    return offset <= max(row.applied.get(key, -1), row.applied.get(_of_any(key), -1))


def _of_any(key: str) -> str:
    """The key without its incarnation; an alias may hold anything."""
    alias_and_topic, _, partition = key.rpartition("|")
    alias, _, topic = alias_and_topic.rpartition("|")
    return applied_key(alias, topic.partition("@")[0], int(partition))


def with_applied(row: Row, key: str, offset: int) -> Row:
    """The row after the record at this offset; it never goes back."""
    if offset <= row.applied.get(key, -1):
        return row
    return replace(row, applied=row.applied | {key: offset})


def remembers(row: Row, message_id: str) -> bool:
    """Whether this message id was folded, as far as is remembered."""
    return _find(row.message_ids, digest(message_id)) >= 0


def remember(row: Row, message_id: str, rules: Rules, profile: Profile | None = None) -> Row:
    """The row that remembers this message id; the one first remembered of more than `max_message_ids` is forgotten.

    Args:
        profile: what the message made of the customer's; as it was where left out.
    """
    message_ids = join_ids(row.message_ids, digest(message_id), rules)
    return replace(row, message_ids=message_ids, profile=row.profile if profile is None else profile)


def join_ids(one: bytes, other: bytes, rules: Rules) -> bytes:
    """Two memories of message ids as one, the first of too many forgotten."""
    fresh = other
    if len(other) > _DIGEST_BYTES:
        parts = (other[at : at + _DIGEST_BYTES] for at in range(0, len(other), _DIGEST_BYTES))
        fresh = b"".join(part for part in parts if _find(one, part) < 0)
    return (one + fresh)[-_DIGEST_BYTES * rules.max_message_ids :]


def erase(row: Row) -> Row:
    """The tombstone of a customer: guards stay, so that a replay does not resurrect them; the rest is gone."""
    return Row(row.user_id, row.arm, applied=row.applied, message_ids=row.message_ids, state="erased")


def _find(memory: bytes, wanted: bytes) -> int:
    at = memory.find(wanted)
    while at > 0 and at % _DIGEST_BYTES:  # a match across two digests is none
        at = memory.find(wanted, at + 1)
    return at
