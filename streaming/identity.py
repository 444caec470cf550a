"""Merging an anonymous customer's row into a user's, in steps that may be repeated. Pure.

Freeze the anonymous row, write the user's with all that was known and the alias's guards, turn the anonymous row into
a pointer. Whatever step a crash comes after, the same call gives the same rows again; once merged, nothing is added
a second time. An anonymous id belongs to the user who claimed it first.
"""

from typing import NamedTuple

from msgspec.structs import replace

from streaming import profile_changes as bounds
from streaming.profile_parts import Bought, Counts, Money, Profile, Tally
from streaming.row import MAX_ISSUED, Asked, Row, join_ids
from streaming.rules import Rules
from streaming.sessions import merged as merged_sessions
from streaming.stamps import Stamp, add_all, digest, later, put_all, union
from streaming.triggers import MAX_CAMPAIGNS, with_timers


class Merge(NamedTuple):
    """Rows to write, in this order: each alone leaves a state from which the next call goes on."""

    frozen: Row
    user: Row
    pointer: Row


def owner_of(row: Row) -> str:
    """Whose row an event with this key belongs to: follow it until a row owns itself."""
    return row.alias_of or row.user_id


def plan(user: Row, alias: Row, message_id: str, at_ms: int, rules: Rules) -> Merge | None:
    """The three rows of a merge, or None where there is nothing to merge.

    Args:
        user: the user's row; it must not be an alias itself.
        alias: the anonymous row, in any state of this merge.
        message_id: of the identifying event; at_ms: its time.
    """
    if user.alias_of is not None or user.state != "live" or alias.user_id == user.user_id or alias.erased:
        return None
    if alias.alias_of not in {None, user.user_id} or (alias.state == "pointer" and alias.user_id in user.merged):
        return None
    frozen = freeze(alias, user.user_id)
    return Merge(frozen, absorb(user, frozen, message_id, at_ms, rules), point(frozen))


def freeze(alias: Row, user_id: str) -> Row:
    """The anonymous row as it is merged: nothing is folded into it and no timer fires any more."""
    return alias if alias.state == "pointer" else replace(alias, state="frozen", alias_of=user_id, due=())


def absorb(user: Row, alias: Row, message_id: str, at_ms: int, rules: Rules) -> Row:
    """The user's row with all that the anonymous one knew; unchanged where that was merged before."""
    if alias.user_id in user.merged:
        return user
    stamp = Stamp(at_ms, int.from_bytes(digest(message_id)[:4], "big"))
    known = join(user.profile, alias.profile)
    aliases = put_all(known.aliases, {alias.user_id: Bought(stamp)}, bounds.MAX_ALIASES)
    row = replace(
        user,
        profile=replace(known, aliases=aliases),
        asked=_joined_memory(user.asked, alias.asked),
        applied=user.applied | {key: max(at, user.applied.get(key, at)) for key, at in alias.applied.items()},
        message_ids=join_ids(alias.message_ids, user.message_ids, rules),
        merged=user.merged | {alias.user_id: digest(message_id).hex()},
    )
    return with_timers(row, rules)


def point(alias: Row) -> Row:
    """The pointer that is left of an anonymous row; its guards live in the user's row now."""
    return Row(alias.user_id, alias.arm, alias_of=alias.alias_of, state="pointer")


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
