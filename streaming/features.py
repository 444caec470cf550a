"""What a request tells the model about its customer: numbers, categories, shares, and relations to candidates. Pure.

Names, meanings and bins stand in `contracts/features.py`. Pseudonymous: no id, no query, no exact time leaves here.
"""

from collections.abc import Iterable

from streaming import behaviour as read
from streaming.contracts.catalog import Product
from streaming.contracts.features import NEVER_DAYS, NUMBERS
from streaming.contracts.kinds import CHANNELS
from streaming.contracts.strategies import Features
from streaming.local_time import local
from streaming.profile_parts import Profile, Tally
from streaming.reference import Reference, major, words_of
from streaming.row import Asked
from streaming.rules import DAY_MS, HOUR_MS
from streaming.sessions import current
from streaming.stamps import decayed

STRONGEST = 5
"""Affinities told: the strongest few."""
MIN_SHARE = 0.02
PRIOR_SHOWN, PRIOR_CLICKED = 20.0, 1.0
"""A click rate is told as if this many more had been shown and clicked: one click of one is no certainty."""
BOUGHT_HALF_LIFE_DAYS = 30.0
VIEWED_HALF_LIFE_DAYS = 3.0
LEAST = 0.0005
"""Least relation that is told: less rounds to nothing."""
KNOWN_WEIGHT = 0.25
"""Least decayed weight of a mean that is told: about one purchase two months ago."""
ACTIVE_DAYS, LAPSING_DAYS, NEW_DAYS = 14.0, 30.0, 7.0


def language_of(profile: Profile) -> str:
    """`zh` for every Chinese locale, else `en`."""
    return "zh" if profile.locale and profile.locale.value.lower().replace("_", "-").split("-")[0] == "zh" else "en"


def features(profile: Profile, asked: Asked, now_ms: int, currency: str = "USD") -> Features:
    """The customer as the model sees them at a time.

    Args:
        currency: of the amounts where the customer has no order yet.
    """
    numbers = _activity(profile, asked, now_ms) | _buying(profile, now_ms, read.currency_of(profile, currency))
    numbers = {name: _rounded_number(numbers[name]) for name in NUMBERS}
    return Features(
        numbers=numbers,
        categories=_categories(profile, numbers, now_ms),
        category_affinity=strongest(profile.categories),
        brand_affinity=strongest(profile.brands),
        channel_response={name: _click_rate(profile, name) for name in CHANNELS if name in profile.channels},
    )


def _rounded_number(value: float) -> float:
    """Most numbers are whole, and rounding is slow."""
    return value if value.is_integer() else round(value, 4)


def strongest(sums: dict[str, float]) -> dict[str, float]:
    """The strongest few as shares of all; decay cancels out of shares."""
    by_name = sorted(sums)
    total = sum([sums[key] for key in by_name])
    if total <= 0:
        return {}
    top = sorted(by_name, key=sums.__getitem__, reverse=True)[:STRONGEST]  # of equals the first by name
    return {key: round(sums[key] / total, 4) for key in top if sums[key] / total >= MIN_SHARE}


class Relations:
    """How products relate to one customer at one time; what all products share is read once."""

    def __init__(self, profile: Profile, now_ms: int, reference: Reference, query: str = "") -> None:
        """Read the profile; `query` is what the moment's search was, else the latest of the day is taken."""
        self._profile, self._now_ms, self.reference = profile, now_ms, reference
        self._cart = read.live_cart(profile)
        self._looks = {view.product_id: view.stamp.at_ms for view in profile.views}
        self._of_categories = sum(profile.categories.values())
        self._of_brands = sum(profile.brands.values())
        self._level = mean_of(profile.price_level, now_ms)
        latest = profile.searches[-1] if profile.searches else None
        if not query and latest is not None and 0 <= now_ms - latest.stamp.at_ms < DAY_MS:
            query = latest.query
        self._words = words_of(query)

    def of(self, product: Product) -> dict[str, float]:
        """Relation → value in [0, 1]; what is 0 is left out."""
        return _rounded(self._found(product))

    def of_any(self, products: Iterable[Product]) -> dict[str, float]:
        """The strongest relation that any of the products has, by name."""
        strongest: dict[str, float] = {}
        for product in products:
            for name, value in self._found(product).items():
                if value > strongest.get(name, 0.0):
                    strongest[name] = value
        return _rounded(strongest)

    def _found(self, product: Product) -> dict[str, float]:
        """The same, not rounded."""
        key, profile, told = product.product_id, self._profile, self.reference.told(product)
        found: dict[str, float] = {}
        if liked := profile.categories.get(told.category):
            found["category_affinity"] = liked / (self._of_categories or 1.0)
        if liked := profile.brands.get(product.brand):
            found["brand_affinity"] = liked / (self._of_brands or 1.0)
        if bought := profile.bought.get(key):
            found["bought"] = _halved(bought.stamp.at_ms, self._now_ms, BOUGHT_HALF_LIFE_DAYS)
        if (looked_ms := self._looks.get(key)) is not None:
            found["viewed"] = _halved(looked_ms, self._now_ms, VIEWED_HALF_LIFE_DAYS)
        if key in profile.wishlist:
            found["wished"] = 1.0
        if key in self._cart:
            found["in_cart"] = 1.0
        if self._words:
            found["searched"] = self._searched(key)
        if self._level is not None:
            found["price_fit"] = 0.0 if told.level is None else float(2.0 ** (-abs(told.level - self._level)))
        if told.popularity:
            found["popularity"] = told.popularity
        return found

    def _searched(self, product_id: str) -> float:
        text = self.reference.index.text_of.get(product_id, frozenset())
        return len(self._words & text) / len(self._words)


def _rounded(found: dict[str, float]) -> dict[str, float]:
    return {name: round(min(value, 1.0), 3) for name, value in found.items() if value >= LEAST}


def mean_of(tally: Tally, now_ms: int) -> float | None:
    """A decayed mean, or None where too little is known."""
    return tally.total / tally.weight if decayed(tally.weight, now_ms) >= KNOWN_WEIGHT else None


def _activity(profile: Profile, asked: Asked, now_ms: int) -> dict[str, float]:
    session = current(profile.sessions, now_ms)
    recent = [search for search in profile.searches if 0 <= now_ms - search.stamp.at_ms < 7 * DAY_MS]
    return {
        "recency_days": _days(read.previous_end_ms(profile, now_ms), now_ms),
        "tenure_days": 0.0 if profile.first_ms is None else max(0, now_ms - profile.first_ms) / DAY_MS,
        "session_views": float(len(read.session_views(profile, session))),
        "session_minutes": (session.end_ms - session.start_ms) / 60_000 if session else 0.0,
        "sessions_30d": float(sum(0 <= now_ms - s.end_ms < 30 * DAY_MS for s in profile.sessions)),
        "searches_7d": float(len(recent)),
        "searches_unclicked_7d": float(sum(not read.clicked_after(profile, search) for search in recent)),
        "known_aliases": float(len(profile.aliases)),
        "asked_7d": float(sum(0 <= now_ms - at_ms < 7 * DAY_MS for at_ms in asked.issued_ms)),
    }


def _buying(profile: Profile, now_ms: int, currency: str) -> dict[str, float]:
    money, net = profile.money.get(currency), read.net_orders(profile)
    mine = [fact for fact, order in zip(net, profile.orders, strict=True) if order.currency == currency]
    recent = [fact for fact in mine if 0 <= now_ms - fact[0] < 90 * DAY_MS]
    cart = read.live_cart(profile).values()
    checkout_ms = read.open_checkout_ms(profile)
    in_cart = sum(line.quantity * line.price_minor for line in cart if line.currency == currency)
    return {
        "days_since_order": _days(profile.orders[-1].stamp.at_ms if profile.orders else None, now_ms),
        "orders_90d": float(sum(share < 1.0 for _, _, share in recent)),
        "orders_total": float(sum(known.orders for known in profile.money.values())),
        "spend_90d_major": major(sum(minor for _, minor, _ in recent), currency),
        "order_value_major": major(money.spent_minor, currency) / money.orders if money else 0.0,
        "refund_share": sum(share > 0 for _, _, share in net) / len(net) if net else 0.0,
        "discount_share": mean_of(profile.discounted, now_ms) or 0.0,
        "price_level": mean_of(profile.price_level, now_ms) or 0.0,
        "cart_items": float(sum(line.quantity for line in cart)),
        "cart_value_major": major(in_cart, currency),
        "checkout_age_hours": NEVER_DAYS if checkout_ms is None else max(0, now_ms - checkout_ms) / HOUR_MS,
        "wishlist_items": float(len(profile.wishlist)),
    }


def _categories(profile: Profile, numbers: dict[str, float], now_ms: int) -> dict[str, str]:
    then = local(profile, now_ms)
    return {
        "lifecycle": _lifecycle(numbers),
        "daypart": ("night", "morning", "afternoon", "evening")[then.hour // 6],
        "weekday": "weekend" if then.weekday() >= 5 else "workday",  # noqa: PLR2004 -- Saturday is 5
        "language": language_of(profile),
        "basket": _basket(profile),
        "price_band": _band(mean_of(profile.price_level, now_ms), -0.15, 0.15, ("budget", "middle", "premium")),
        "deal_seeking": _band(mean_of(profile.discounted, now_ms), 0.3, 0.3, ("low", "low", "high")),
    }


def _lifecycle(numbers: dict[str, float]) -> str:
    if numbers["tenure_days"] < NEW_DAYS:
        return "new"
    recency = numbers["recency_days"]
    return "active" if recency < ACTIVE_DAYS else "lapsing" if recency < LAPSING_DAYS else "dormant"


def _basket(profile: Profile) -> str:
    if not read.live_cart(profile):
        return "empty"
    return "filled" if read.open_checkout_ms(profile) is None else "checkout"


def _band(value: float | None, low: float, high: float, names: tuple[str, str, str]) -> str:
    if value is None:
        return "unknown"
    return names[0] if value < low else names[2] if value >= high else names[1]


def _days(at_ms: int | None, now_ms: int) -> float:
    return NEVER_DAYS if at_ms is None else min(max(0, now_ms - at_ms) / DAY_MS, NEVER_DAYS)


def _click_rate(profile: Profile, channel: str) -> float:
    counts = profile.channels[channel]
    return round((counts.clicked + PRIOR_CLICKED) / (max(counts.shown, counts.clicked) + PRIOR_SHOWN), 4)


def _halved(at_ms: int, now_ms: int, half_life_days: float) -> float:
    return float(2.0 ** (-max(0, now_ms - at_ms) / DAY_MS / half_life_days))
