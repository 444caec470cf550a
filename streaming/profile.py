"""The fold of an event into a profile: the same for any order of the same events (law 1). Pure.

Duplicates are dropped before the fold, by the message ids that the row remembers. Sums are exact for integers and
within 1e-9 for decayed ones; every list and map is bounded, and bounds forget what is oldest.
"""

from collections.abc import Callable

from msgspec.structs import replace

from streaming import profile_changes as change
from streaming.contracts.codec import to_ms
from streaming.contracts.events import Event
from streaming.contracts.strategies import Strategy
from streaming.profile_parts import EMPTY, Grant, Profile, Said, Touch
from streaming.reference import Reference
from streaming.sessions import with_activity
from streaming.stamps import Stamp, put, stamp_of

__all__ = ["ACTIVE", "EMPTY", "FOLDED", "Profile", "fold", "fold_strategy"]

Changer = Callable[[Profile, Event, Stamp, Reference], change.Changes]

_CHANGERS: dict[str, Changer] = {
    "Product Viewed": change.looked_at,
    "Product Clicked": change.looked_at,
    "Product Added": change.added,
    "Product Removed": change.removed,
    "Product Added to Wishlist": change.wished,
    "Products Searched": change.searched,
    "Product List Viewed": change.exposed,
    "Checkout Started": change.checked_out,
    "Payment Info Entered": change.checked_out,
    "Order Completed": change.ordered,
    "Order Refunded": change.reversed_order,
    "Order Cancelled": change.reversed_order,
    "Promotion Viewed": change.exposed,
    "Promotion Clicked": change.exposed,
    "Email Delivered": change.exposed,
    "Email Opened": change.exposed,
    "Email Link Clicked": change.exposed,
    "Email Marked as Spam": change.exposed,
    "Unsubscribed": change.exposed,
    "identify": change.identified,
}
FOLDED = frozenset({*_CHANGERS, "Segment Consent Preference Updated", "Decision Requested"})
"""Events that a profile takes something from; `Ad Cost Recorded` and `Clock Advanced` leave it as it is."""
ACTIVE = frozenset({
    "Product Viewed", "Product Clicked", "Product Added", "Product Removed", "Product Added to Wishlist",
    "Products Searched", "Product List Viewed", "Checkout Started", "Payment Info Entered", "Order Completed",
    "Promotion Clicked", "Email Link Clicked",
})  # fmt: skip
"""Events the customer is present at: sessions are made of them. A delivered e-mail or a refund is nobody's visit."""


def fold(profile: Profile, event: Event, reference: Reference) -> Profile:
    """The profile after an event that is no duplicate."""
    name, stamp = event.name, stamp_of(event)
    changer = _CHANGERS.get(name)
    if changer is None and name not in FOLDED:
        return profile
    changes = changer(profile, event, stamp, reference) if changer else {}
    if name in ACTIVE:
        sessions = with_activity(profile.sessions, event.at_ms)
        if sessions is not profile.sessions:
            changes["sessions"] = sessions
    if profile.first_ms is None or event.at_ms < profile.first_ms:
        changes["first_ms"] = event.at_ms
    _context(profile, event, stamp, changes)
    return replace(profile, **changes)


def fold_strategy(profile: Profile, strategy: Strategy) -> Profile:
    """The profile after a strategy from `strategies`: the channel its exposures are counted for.

    Kinds without a channel slot (ad, ranking) act on the site.
    """
    stamp = Stamp(to_ms(strategy.issued_at))
    touch = Touch(stamp, strategy.decision.get("channel", "onsite"))
    return replace(profile, **change.touched(profile, strategy.strategy_id, touch))


def _context(profile: Profile, event: Event, stamp: Stamp, changes: change.Changes) -> None:
    """The last words on consent, locale and time zone, which any event may carry."""
    context = event.context
    if context.consent is not None:
        known = changes.get("consent", profile.consent)
        assert isinstance(known, dict)
        for purpose in change.PURPOSES:
            granted = context.consent.category_preferences.get(purpose)
            if granted is not None:
                known = put(known, purpose, Grant(stamp, granted), len(change.PURPOSES))
        changes["consent"] = known
    if context.locale and (profile.locale is None or stamp > profile.locale.stamp):
        changes["locale"] = Said(stamp, context.locale)
    if context.timezone and (profile.timezone is None or stamp > profile.timezone.stamp):
        changes["timezone"] = Said(stamp, context.timezone)
