"""What a profile says when read: the live cart, open wishes, searches without a click, net orders. Pure.

Facts that join several events are joined here, on reading, so that the order of the events cannot matter.
"""

from streaming.profile_parts import CartLine, Profile, Search, Session, View, Wish
from streaming.rules import SESSION_GAP_MS
from streaming.sessions import current


def live_cart(profile: Profile) -> dict[str, CartLine]:
    """Product → line of what is in the cart now."""
    if not profile.cart:
        return {}
    emptied = profile.emptied
    return {key: line for key, line in profile.cart.items() if line.quantity > 0 and line.stamp > emptied}


def cart_changed_ms(profile: Profile) -> int | None:
    """When something was last put into the cart that is in it now; None where it is empty."""
    if not profile.cart:
        return None
    emptied = profile.emptied
    stamps = [line.stamp for line in profile.cart.values() if line.quantity > 0]
    return max((stamp.at_ms for stamp in stamps if stamp > emptied), default=None)


def open_checkout_ms(profile: Profile) -> int | None:
    """When a checkout was begun that no order followed, or None."""
    return profile.checkout.at_ms if profile.checkout > profile.emptied else None


def watched_prices(profile: Profile) -> dict[str, tuple[int, str]]:
    """Product on the wishlist or in the cart → price and currency the customer remembers: the lower where both."""
    if not profile.cart and not profile.wishlist:
        return {}
    seen: dict[str, tuple[int, str]] = {}
    watched: list[tuple[str, CartLine | Wish]] = [*live_cart(profile).items(), *profile.wishlist.items()]
    for product_id, fact in watched:
        if fact.price_minor > 0:
            known = seen.get(product_id)
            if known is None or fact.price_minor < known[0]:
                seen[product_id] = (fact.price_minor, fact.currency)
    return seen


def clicked_after(profile: Profile, search: Search) -> bool:
    """Whether a product was looked at within half an hour after a search."""
    end_ms = search.stamp.at_ms + SESSION_GAP_MS
    for view in reversed(profile.views):  # newest first: those before the search need no look
        if view.stamp <= search.stamp:
            return False
        if view.stamp.at_ms <= end_ms:
            return True
    return False


def session_views(profile: Profile, session: Session | None) -> tuple[View, ...]:
    """Views within a session, one per product (its last), oldest first."""
    if session is None:
        return ()
    last = {view.product_id: view for view in profile.views if session.start_ms <= view.stamp.at_ms <= session.end_ms}
    return tuple(last.values())


def last_activity_ms(profile: Profile) -> int | None:
    """When the customer was last there, or None."""
    return profile.sessions[-1].end_ms if profile.sessions else None


def previous_end_ms(profile: Profile, at_ms: int) -> int | None:
    """When the session before the current one ended (the last one's end where none is under way), or None."""
    before = [session for session in profile.sessions if session.start_ms <= at_ms]
    if current(profile.sessions, at_ms) is not None:
        before = before[:-1]
    return before[-1].end_ms if before else None


def net_orders(profile: Profile) -> list[tuple[int, int, float]]:
    """Of the last orders: time, net minor units paid, share given back in [0, 1]."""
    if not profile.orders:
        return []
    whole = {r.order_id for r in profile.reversals if r.minor is None}
    back: dict[str, int] = {}
    for reversal in profile.reversals:
        back[reversal.order_id] = back.get(reversal.order_id, 0) + (reversal.minor or 0)
    result = []
    for order in profile.orders:
        taken = order.total_minor if order.order_id in whole else min(back.get(order.order_id, 0), order.total_minor)
        share = 1.0 if order.order_id in whole else taken / order.total_minor if order.total_minor else 0.0
        result.append((order.stamp.at_ms, order.total_minor - taken, share))
    return result


def currency_of(profile: Profile, default: str) -> str:
    """The currency of the newest order, else the shop's."""
    return profile.orders[-1].currency if profile.orders else default
