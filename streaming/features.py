"""What a request tells the model about its customer: numbers, categories, shares, and relations to candidates. Pure.

Names, meanings and bins stand in `contracts/features.py`. Pseudonymous: no id, no query, no exact time leaves here.
"""

from collections.abc import Mapping
from math import fsum
from typing import NamedTuple

from streaming import behaviour as read
from streaming.contracts.features import NEVER_DAYS
from streaming.contracts.kinds import CHANNELS
from streaming.contracts.strategies import Features
from streaming.local_time import weekday_and_hour
from streaming.profile_parts import CartLine, Profile, Tally
from streaming.reference import Reference, major, words_of
from streaming.row import Asked
from streaming.rules import DAY_MS, HOUR_MS
from streaming.sessions import current
from streaming.stamps import decayed
from streaming.told import Group, Told

STRONGEST = 5
"""Affinities told: the strongest few."""
MIN_SHARE = 0.02
PRIOR_SHOWN, PRIOR_CLICKED = 20.0, 1.0
"""A click rate is told as if this many more had been shown and clicked: one click of one is no certainty."""
BOUGHT_HALF_LIFE_DAYS = 30.0
VIEWED_HALF_LIFE_DAYS = 3.0
RECENT = 2
"""Products of each kind that `recent` has at most."""
LEAST = 0.0005
"""Least relation that is told: less rounds to nothing. `round(value, 3)` takes three times as long as thousandths do."""
KNOWN_WEIGHT = 0.25
"""Least decayed weight of a mean that is told: about one purchase two months ago."""
ACTIVE_DAYS, LAPSING_DAYS, NEW_DAYS = 14.0, 30.0, 7.0


def language_of(profile: Profile) -> str:
    """`zh` for every Chinese locale, else `en`."""
    said = profile.locale.value.lower() if profile.locale else ""
    return "zh" if said.startswith("zh") and said.replace("_", "-").split("-")[0] == "zh" else "en"


class Affinities(NamedTuple):
    """The strongest few categories and brands as shares of all, the strongest first."""

    categories: dict[str, float]
    brands: dict[str, float]


def affinities_of(profile: Profile) -> Affinities:
    """What the customer likes best."""
    return Affinities(strongest(profile.categories), strongest(profile.brands))


def features(
    profile: Profile, asked: Asked, now_ms: int, currency: str = "USD", affinities: Affinities | None = None
) -> Features:
    """The customer as the model sees them at a time.

    Args:
        currency: of the amounts where the customer has no order yet.
        affinities: where they are known already.
    """
    cart = read.live_cart(profile)
    numbers = {
        **_since(profile, now_ms),
        **_buying(profile, now_ms, read.currency_of(profile, currency), cart),
        **_visits(profile, asked, now_ms),
    }
    liked = affinities or affinities_of(profile)
    return Features(
        numbers=numbers,
        categories=_categories(profile, numbers, now_ms, cart),
        category_affinity=liked.categories,
        brand_affinity=liked.brands,
        channel_response={name: _click_rate(profile, name) for name in CHANNELS if name in profile.channels}
        if profile.channels
        else {},
    )


def strongest(sums: dict[str, float]) -> dict[str, float]:
    """The strongest few as shares of all; decay cancels out of shares."""
    total = fsum(sums.values())  # the same in any order
    if total <= 0:
        return {}
    top = sorted(sorted(sums), key=sums.__getitem__, reverse=True)[:STRONGEST]  # of equals the first by name
    return {key: _rounded_number(share) for key in top if (share := sums[key] / total) >= MIN_SHARE}


class Relations:
    """How products relate to one customer at one time; what all products share is read once.

    Attributes:
        cart: what is in it, product → line.
        recent: where there are vectors of products, what the customer has of late: looked at, in the cart, bought.
        affinities: what the customer likes best.
    """

    def __init__(self, profile: Profile, now_ms: int, reference: Reference, query: str = "") -> None:
        """Read the profile; `query` is what the moment's search was, else the latest of the day is taken."""
        self._profile, self._now_ms, self.reference = profile, now_ms, reference
        self.cart = read.live_cart(profile)
        self.affinities = affinities_of(profile)
        self._looks = {view.product_id: view.stamp.at_ms for view in profile.views}
        self._of_categories = fsum(profile.categories.values()) or 1.0
        self._of_brands = fsum(profile.brands.values()) or 1.0
        self._level = mean_of(profile.price_level, now_ms)
        latest = profile.searches[-1] if profile.searches else None
        if not query and latest is not None and 0 <= now_ms - latest.stamp.at_ms < DAY_MS:
            query = latest.query
        self._words = words_of(query) if query else frozenset[str]()
        self.recent: tuple[str, ...] = () if reference.placed is None else self._recent()

    def of(self, told: Told) -> dict[str, float]:
        """Relation of a product → value in [0, 1]; what is 0 is left out."""
        key, profile = told.product.product_id, self._profile
        found: dict[str, float] = {}
        if liked := profile.categories.get(told.category):
            found["category_affinity"] = liked / self._of_categories
        if liked := profile.brands.get(told.product.brand):
            found["brand_affinity"] = liked / self._of_brands
        if bought := profile.bought.get(key):
            found["bought"] = self._halved(bought.stamp.at_ms, BOUGHT_HALF_LIFE_DAYS)
        if (looked_ms := self._looks.get(key)) is not None:
            found["viewed"] = self._halved(looked_ms, VIEWED_HALF_LIFE_DAYS)
        if key in profile.wishlist:
            found["wished"] = 1.0
        if key in self.cart:
            found["in_cart"] = 1.0
        if self._words:
            found["searched"] = len(self._words & told.words) / len(self._words)
        if self._level is not None and told.level is not None:
            found["price_fit"] = 2.0 ** -abs(told.level - self._level)
        if told.popularity:
            found["popularity"] = told.popularity
        return _told(found | self._by_vectors(key))

    def _by_vectors(self, product_id: str) -> dict[str, float]:
        placed = self.reference.placed
        return {} if placed is None else placed.relation(product_id, self.recent)

    def _recent(self) -> tuple[str, ...]:
        profile = self._profile
        looked = [view.product_id for view in reversed(profile.views)][:RECENT]
        bought = sorted(profile.bought, key=lambda key: profile.bought[key].stamp, reverse=True)[:RECENT]
        return tuple(dict.fromkeys((*looked, *sorted(self.cart)[:RECENT], *bought)))

    def of_any(self, group: Group) -> dict[str, float]:
        """The strongest relation that any product of a group has, by name: looks at the customer's facts, not at each product."""
        profile, found = self._profile, dict[str, float]()
        if liked := [profile.categories[name] for name in group.categories if name in profile.categories]:
            found["category_affinity"] = max(liked) / self._of_categories
        if liked := [profile.brands[name] for name in group.brands if name in profile.brands]:
            found["brand_affinity"] = max(liked) / self._of_brands
        if bought := group.ids.intersection(profile.bought):
            latest_ms = max(profile.bought[key].stamp.at_ms for key in bought)
            found["bought"] = self._halved(latest_ms, BOUGHT_HALF_LIFE_DAYS)
        if looked := group.ids.intersection(self._looks):
            found["viewed"] = self._halved(max(self._looks[key] for key in looked), VIEWED_HALF_LIFE_DAYS)
        if not group.ids.isdisjoint(profile.wishlist):
            found["wished"] = 1.0
        if not group.ids.isdisjoint(self.cart):
            found["in_cart"] = 1.0
        if self._words:
            found["searched"] = max((len(self._words & text) for text in group.words), default=0) / len(self._words)
        if self._level is not None and (nearest := group.nearest_level(self._level)) is not None:
            found["price_fit"] = 2.0 ** -abs(nearest - self._level)
        if group.popularity:
            found["popularity"] = group.popularity
        return _told(found)

    def _halved(self, at_ms: int, half_life_days: float) -> float:
        return float(2.0 ** (-max(0, self._now_ms - at_ms) / DAY_MS / half_life_days))


def _told(found: dict[str, float]) -> dict[str, float]:
    """Relations in thousandths; what rounds to nothing is left out."""
    return {name: round(value * 1000.0) / 1000.0 for name, value in found.items() if value >= LEAST}


def mean_of(tally: Tally, now_ms: int) -> float | None:
    """A decayed mean, or None where too little is known."""
    if not tally.weight:
        return None
    return tally.total / tally.weight if decayed(tally.weight, now_ms) >= KNOWN_WEIGHT else None


def _since(profile: Profile, now_ms: int) -> dict[str, float]:
    return {
        "recency_days": _days(read.previous_end_ms(profile, now_ms), now_ms),
        "tenure_days": 0.0 if profile.first_ms is None else _rounded_number(max(0, now_ms - profile.first_ms) / DAY_MS),
    }


def _buying(profile: Profile, now_ms: int, currency: str, cart: Mapping[str, CartLine]) -> dict[str, float]:
    money, net = profile.money.get(currency), read.net_orders(profile)
    mine = [fact for fact, order in zip(net, profile.orders, strict=True) if order.currency == currency]
    recent = [fact for fact in mine if 0 <= now_ms - fact[0] < 90 * DAY_MS]
    checkout_ms = read.open_checkout_ms(profile)
    in_cart = sum([line.quantity * line.price_minor for line in cart.values() if line.currency == currency])
    checkout_age_hours = NEVER_DAYS if checkout_ms is None else max(0, now_ms - checkout_ms) / HOUR_MS
    return {
        "days_since_order": _days(profile.orders[-1].stamp.at_ms if profile.orders else None, now_ms),
        "orders_90d": float(len([fact for fact in recent if fact[2] < 1.0])),
        "orders_total": float(sum([known.orders for known in profile.money.values()])),
        "spend_90d_major": _rounded_number(major(sum([fact[1] for fact in recent]), currency)),
        "order_value_major": _rounded_number(major(money.spent_minor, currency) / money.orders) if money else 0.0,
        "refund_share": _rounded_number(len([fact for fact in net if fact[2] > 0]) / len(net)) if net else 0.0,
        "discount_share": _rounded_number(mean_of(profile.discounted, now_ms) or 0.0),
        "price_level": _rounded_number(mean_of(profile.price_level, now_ms) or 0.0),
        "cart_items": float(sum([line.quantity for line in cart.values()])),
        "cart_value_major": _rounded_number(major(in_cart, currency)),
        "checkout_age_hours": _rounded_number(checkout_age_hours),
        "wishlist_items": float(len(profile.wishlist)),
    }


def _visits(profile: Profile, asked: Asked, now_ms: int) -> dict[str, float]:
    session = current(profile.sessions, now_ms)
    month_ms, week_ms = now_ms - 30 * DAY_MS, now_ms - 7 * DAY_MS
    recent = [search for search in profile.searches if week_ms < search.stamp.at_ms <= now_ms]
    return {
        "session_views": float(len(read.session_views(profile, session))),
        "session_minutes": _rounded_number((session.end_ms - session.start_ms) / 60_000) if session else 0.0,
        "sessions_30d": float(len([s for s in profile.sessions if month_ms < s.end_ms <= now_ms])),
        "searches_7d": float(len(recent)),
        "searches_unclicked_7d": float(len([s for s in recent if not read.clicked_after(profile, s)])),
        "known_aliases": float(len(profile.aliases)),
        "asked_7d": float(len([at_ms for at_ms in asked.issued_ms if week_ms < at_ms <= now_ms])),
    }


def _rounded_number(value: float) -> float:
    """To four decimals, by a way that takes a third of the time of `round(value, 4)`."""
    return round(value * 1e4) / 1e4


def _categories(
    profile: Profile, numbers: dict[str, float], now_ms: int, cart: Mapping[str, CartLine]
) -> dict[str, str]:
    weekday, hour = weekday_and_hour(profile, now_ms)
    return {
        "lifecycle": _lifecycle(numbers),
        "daypart": ("night", "morning", "afternoon", "evening")[hour // 6],
        "weekday": "weekend" if weekday >= 5 else "workday",  # noqa: PLR2004 -- Saturday is 5
        "language": language_of(profile),
        "basket": _basket(profile, cart),
        "price_band": _band(mean_of(profile.price_level, now_ms), -0.15, 0.15, ("budget", "middle", "premium")),
        "deal_seeking": _band(mean_of(profile.discounted, now_ms), 0.3, 0.3, ("low", "low", "high")),
    }


def _lifecycle(numbers: dict[str, float]) -> str:
    if numbers["tenure_days"] < NEW_DAYS:
        return "new"
    recency = numbers["recency_days"]
    return "active" if recency < ACTIVE_DAYS else "lapsing" if recency < LAPSING_DAYS else "dormant"


def _basket(profile: Profile, cart: Mapping[str, CartLine]) -> str:
    if not cart:
        return "empty"
    return "filled" if read.open_checkout_ms(profile) is None else "checkout"


def _band(value: float | None, low: float, high: float, names: tuple[str, str, str]) -> str:
    if value is None:
        return "unknown"
    return names[0] if value < low else names[2] if value >= high else names[1]


def _days(at_ms: int | None, now_ms: int) -> float:
    return NEVER_DAYS if at_ms is None else _rounded_number(min(max(0, now_ms - at_ms) / DAY_MS, NEVER_DAYS))


def _click_rate(profile: Profile, channel: str) -> float:
    counts = profile.channels[channel]
    return round((counts.clicked + PRIOR_CLICKED) / (max(counts.shown, counts.clicked) + PRIOR_SHOWN), 4)
