"""Merging an anonymous customer's row into a user's, in steps that may be repeated. Pure.

Freeze the anonymous row, write the user's with all that was known and the alias's guards, turn the anonymous row into
a pointer. Whatever step a crash comes after, the same steps give the same rows again; once merged, nothing is added
a second time. The frozen row holds the claim by which it is merged, so that whoever goes on does so in its name.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from streaming import profile_changes as bounds
from streaming.profile_parts import Bought, Counts, Money, Profile, Tally
from streaming.row import MAX_ISSUED, Asked, Claim, Due, Row, join_ids
from streaming.rules import Rules
from streaming.sessions import merged as merged_sessions
from streaming.stamps import Stamp, add_all, digest, later, put_all, union
from streaming.triggers import MAX_CAMPAIGNS, SILENCES, with_timers

MAX_MERGED = 32
"""Merged ids whose guards a row keeps, the last claimed. A guard matters only while its own bucket has not yet applied
what it guards, within one batch; a name that thousands of devices are said to be must not make a row of megabytes."""
MAX_CONFLICTS = 32
"""Refused claims remembered per customer, so that each is told once."""
_NO_CLAIM = Claim()


def owner_of(row: Row) -> str:
    """Whose row an event with this key belongs to: follow it until a row owns itself."""
    return row.alias_of or row.user_id


def freeze(alias: Row, user_id: str, claim: Claim) -> Row:
    """The anonymous row as it is merged: nothing is folded into it, and its timers wait for the user's row."""
    return replace(alias, state="frozen", alias_of=user_id, claim=claim)


def thaw(circle: Iterable[Row]) -> Row | None:
    """The row to be a customer again where rows were claimed in a circle: of the frozen ones the last claimed.

    Two processes that read of two claims at the same time may each freeze what the other's claim needs. The earlier
    claim holds, whoever comes to look. None where no row is frozen.
    """
    frozen = [row for row in circle if row.state == "frozen"]
    if not frozen:
        return None
    last = max(frozen, key=lambda row: (row.claim or _NO_CLAIM, row.user_id))
    return replace(last, state="live", alias_of=None, claim=None)


def absorb(user: Row, alias: Row, rules: Rules) -> Row:
    """The user's row with all that the frozen anonymous one knew; unchanged where that was merged before."""
    if alias.user_id in user.merged:
        return user
    claim = alias.claim or _NO_CLAIM
    merged = _last_claimed(user.merged | alias.merged, {alias.user_id: claim.at_ms})
    applied = user.applied | {key: max(at, user.applied.get(key, at)) for key, at in alias.applied.items()}
    gone = (user.merged.keys() | alias.merged.keys()) - merged.keys()
    guarded = replace(
        user,
        applied={key: at for key, at in applied.items() if key.rsplit("|", 2)[0] not in gone} if gone else applied,
        message_ids=join_ids(alias.message_ids, user.message_ids, rules),
        merged=merged,
    )
    return guarded if user.erased else with_timers(_with_knowledge(guarded, alias, claim), rules)


def _with_knowledge(user: Row, alias: Row, claim: Claim) -> Row:
    stamp = Stamp(claim.at_ms, int.from_bytes(digest(claim.message_id)[:4], "big"))
    known = join(user.profile, alias.profile)
    aliases = put_all(known.aliases, {alias.user_id: Bought(stamp)}, bounds.MAX_ALIASES)
    return replace(
        user,
        profile=replace(known, aliases=aliases),
        asked=_joined_memory(user.asked, alias.asked),
        due=_joined_timers(user, alias),
        conflicts=joined_conflicts(alias.conflicts, user.conflicts),
        # Whether the other row was ever asked anything follows the order between topics, which rewards may not.
        mixed_arms=user.mixed_arms or alias.mixed_arms or alias.arm != user.arm,
    )


def point(alias: Row) -> Row:
    """The pointer that is left of an anonymous row; its guards live in the user's row now."""
    return Row(alias.user_id, alias.arm, alias_of=alias.alias_of, claim=alias.claim, state="pointer")


def joined_conflicts(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Two memories of refused claims as one."""
    return tuple(dict.fromkeys((*one, *other)))[-MAX_CONFLICTS:]


def _last_claimed(merged: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    """What is remembered of merges: the new one, and the last claimed of the others."""
    if len(merged) < MAX_MERGED:
        return merged | new
    ordered = sorted(merged, key=lambda name: (merged[name], name))
    return {name: merged[name] for name in ordered[-MAX_MERGED + 1 :]} | new


def _joined_timers(user: Row, alias: Row) -> tuple[Due, ...]:
    """Timers that do not follow from the profile, each once: not what the other row has been asked already."""
    ours, theirs = ({due.cause for due in row.due} for row in (user, alias))
    kept = [due for due in user.due if due.cause not in alias.asked.campaigns or due.cause in theirs]
    kept += [
        due for due in alias.due if due.trigger not in SILENCES and due.cause not in {*user.asked.campaigns, *ours}
    ]
    return tuple(kept)


def join(one: Profile, other: Profile) -> Profile:
    """Two profiles of one customer as one; each event must be in one of them only."""
    emptied = max(one.emptied, other.emptied)
    bought = put_all(one.bought, other.bought, bounds.MAX_BOUGHT)
    cart = put_all(one.cart, other.cart, bounds.MAX_CART)
    wishes = put_all(one.wishlist, other.wishlist, bounds.MAX_WISHES)
    firsts = [first for first in (one.first_ms, other.first_ms) if first is not None]
    joined = Profile(
        first_ms=min(firsts, default=None),
        sessions=merged_sessions(one.sessions, other.sessions),
        categories=add_all(one.categories, other.categories, bounds.MAX_CATEGORIES),
        brands=add_all(one.brands, other.brands, bounds.MAX_BRANDS),
        views=union(one.views, other.views, bounds.MAX_VIEWS),
        searches=union(one.searches, other.searches, bounds.MAX_SEARCHES),
        cart={key: line for key, line in cart.items() if line.stamp > emptied},
        emptied=emptied,
        checkout=max(one.checkout, other.checkout),
        wishlist={key: w for key, w in wishes.items() if key not in bought or bought[key].stamp < w.stamp},
        bought=bought,
        orders=union(one.orders, other.orders, bounds.MAX_ORDERS),
        reversals=union(one.reversals, other.reversals, bounds.MAX_REVERSALS),
        money=_joined_money(one.money, other.money),
        price_level=_joined_tally(one.price_level, other.price_level),
        discounted=_joined_tally(one.discounted, other.discounted),
        channels=_joined_counts(one.channels, other.channels),
        touches=one.touches,
        consent=put_all(one.consent, other.consent, len(bounds.PURPOSES)),
        locale=later(one.locale, other.locale),
        timezone=later(one.timezone, other.timezone),
        aliases=put_all(one.aliases, other.aliases, bounds.MAX_ALIASES),
    )
    return _with_touches(joined, other)


def _with_touches(joined: Profile, other: Profile) -> Profile:
    """Add the other's messages; what both had counted is counted once."""
    for key, touch in other.touches.items():
        counted = bounds.counted(joined.channels, touch, -1)
        joined = replace(joined, channels=counted)
        joined = replace(joined, **bounds.touched(joined, key, touch))
    return joined


def _joined_money(one: dict[str, Money], other: dict[str, Money]) -> dict[str, Money]:
    joined = dict(one)
    for currency, money in other.items():
        old = joined.get(currency, Money())
        joined[currency] = Money(old.orders + money.orders, old.spent_minor + money.spent_minor)
    return joined


def _joined_counts(one: dict[str, Counts], other: dict[str, Counts]) -> dict[str, Counts]:
    joined = dict(one)
    for channel, counts in other.items():
        old = joined.get(channel, Counts())
        joined[channel] = Counts(old.shown + counts.shown, old.clicked + counts.clicked)
    return joined


def _joined_tally(one: Tally, other: Tally) -> Tally:
    return Tally(one.total + other.total, one.weight + other.weight)


def _joined_memory(one: Asked, other: Asked) -> Asked:
    return Asked(
        issued_ms=tuple(sorted((*one.issued_ms, *other.issued_ms))[-MAX_ISSUED:]),
        last_ms=_latest(one.last_ms, other.last_ms),
        fired=_latest(one.fired, other.fired),
        campaigns=tuple(dict.fromkeys((*other.campaigns, *one.campaigns)))[-MAX_CAMPAIGNS:],
        price_minor=other.price_minor | {k: min(v, other.price_minor.get(k, v)) for k, v in one.price_minor.items()},
    )


def _latest(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return one | {key: max(value, one.get(key, value)) for key, value in other.items()}
