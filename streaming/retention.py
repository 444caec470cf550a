"""How long anything is remembered (law 8): rows without activity for `profile_retention_days` are forgotten. Pure.

Whether a row is forgotten follows from event time alone: a record that comes after the time is folded as if nothing
had been known (`known`), whether or not the row has been removed yet; and removal (`removable`) comes a day later, so
that the order of the two cannot matter.
"""

from collections.abc import Iterable, Mapping

from streaming.contracts.catalog import Campaign
from streaming.contracts.codec import to_ms
from streaming.keys import CAMPAIGN_PREFIX
from streaming.profile_parts import Profile
from streaming.row import Row
from streaming.rules import DAY_MS, Rules

GRACE_MS = DAY_MS
"""Between being forgotten and being removed: more than records are late."""


def newest_ms(row: Row) -> int:
    """Event time of the newest thing known of a customer; what was asked of them counts."""
    profile = row.profile
    stamps = [profile.emptied, profile.checkout]
    stamps += [fact.stamp for facts in (profile.views, profile.searches, profile.orders) for fact in facts[-1:]]
    stamps += [fact.stamp for fact in profile.reversals[-1:]]
    for named in (profile.cart, profile.wishlist, profile.bought, profile.touches, profile.consent, profile.aliases):
        stamps += [fact.stamp for fact in named.values()]
    stamps += [said.stamp for said in (profile.locale, profile.timezone) if said is not None]
    times = [stamp.at_ms for stamp in stamps]
    times += [profile.first_ms or 0, *(session.end_ms for session in profile.sessions[-1:]), *row.asked.issued_ms[-1:]]
    return max(times)


def expired(row: Row, at_ms: int, rules: Rules) -> bool:
    """Whether a customer is forgotten at a time; merged, frozen and erased rows are guards and stay."""
    if not rules.profile_retention_days or row.state != "live":
        return False
    since_ms = at_ms - rules.profile_retention_days * DAY_MS
    if row.profile.sessions and row.profile.sessions[-1].end_ms > since_ms:
        return False  # nearly everybody, and cheap
    return newest_ms(row) <= since_ms


def removable(row: Row, horizon_ms: int, rules: Rules) -> bool:
    """Whether the row of a forgotten customer may be removed; not while a timer is still to fire."""
    return not row.due and expired(row, horizon_ms - GRACE_MS, rules)


def forgotten(row: Row) -> Row | None:
    """What is left of a customer: refusals, and the guards of merged anonymous ids; None where there are none.

    Forgetting that somebody refused would be consent; forgetting a guard would count a replay twice.
    """
    refused = {purpose: grant for purpose, grant in row.profile.consent.items() if not grant.granted}
    if not (refused or row.applied or row.merged):
        return None
    return Row(row.user_id, row.arm, Profile(consent=refused), applied=row.applied, merged=row.merged)


def known(row: Row, at_ms: int | None, rules: Rules) -> Row | None:
    """The row as it counts at a time: itself, what is left of it, or None."""
    if at_ms is None or not expired(row, at_ms, rules):
        return row
    return forgotten(row)


def old_marks(meta: Iterable[str], horizon_ms: int, campaigns: Mapping[str, Campaign], rules: Rules) -> tuple[str, ...]:
    """Of a bucket's fields the marks of campaign starts that nobody looks at any more, once their time is over."""
    if not rules.campaign_mark_days:
        return ()
    since_ms = horizon_ms - rules.campaign_mark_days * DAY_MS
    found = []
    for field in meta:
        if field.startswith(CAMPAIGN_PREFIX):
            campaign_id, _, start = field.removeprefix(CAMPAIGN_PREFIX).rpartition("|")
            campaign = campaigns.get(campaign_id)
            if int(start) <= since_ms and (campaign is None or not _runs(campaign, int(start), horizon_ms)):
                found.append(field)
    return tuple(found)


def _runs(campaign: Campaign, start_ms: int, now_ms: int) -> bool:
    return to_ms(campaign.starts_at) == start_ms and now_ms < to_ms(campaign.ends_at)
