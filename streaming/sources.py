"""Where candidates come from: what the moment names, and what the customer did. Pure."""

from random import Random

from streaming import behaviour as read
from streaming.contracts.catalog import Campaign
from streaming.contracts.ids import stable_seed
from streaming.features import strongest
from streaming.profile_parts import Profile
from streaming.reference import Reference
from streaming.rules import DAY_MS
from streaming.triggers import Moment

FOUND = 12
"""Products a query may bring."""
PER_SOURCE = 6
SAMPLED = 24
"""Products of a category that are compared by popularity."""
TOP_CATEGORIES = 3
REBUY_AFTER_MS = 5 * DAY_MS


def sources(
    profile: Profile,
    moment: Moment,
    reference: Reference,
    campaign: Campaign | None,
    now_ms: int,
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Product ids that the moment names, and lists of others, best first.

    A campaign or a category that the moment is about bounds everything.
    """
    seed = f"{moment.trigger}:{moment.cause}"
    if campaign is not None:
        return (), [of_campaign(campaign, reference, seed)]
    if category := moment.context.get("category"):
        return (), [tuple(view.product_id for view in reversed(profile.views) if view.category == category)[:PER_SOURCE],
                    of_category(category, reference, seed, SAMPLED)]  # fmt: skip
    cart = tuple(sorted(read.live_cart(profile)))
    named = tuple(filter(None, (moment.context.get("product"),)))
    if moment.trigger == "cart_abandoned":
        named += cart
    if query := moment.context.get("query"):
        named += reference.search(query, FOUND)
    return named, [*_of_customer(profile, reference, seed, cart, now_ms), reference.popular[:FOUND]]


def of_category(category: str, reference: Reference, seed: str, limit: int) -> tuple[str, ...]:
    """Products of a category, the more popular ones of a stable sample first."""
    ids = reference.in_category(category)
    if len(ids) > SAMPLED:
        ids = tuple(Random(stable_seed("category", category, seed)).sample(ids, SAMPLED))
    return reference.by_popularity(ids)[:limit]


def of_campaign(campaign: Campaign, reference: Reference, seed: str) -> tuple[str, ...]:
    """A stable sample of a campaign's own products; of its categories where it names no products."""
    ids = campaign.product_ids or tuple(p for name in campaign.categories for p in reference.in_category(name))
    rng = Random(stable_seed("campaign", campaign.campaign_id, seed))
    return tuple(rng.sample(ids, min(SAMPLED, len(ids))))


def _of_customer(
    profile: Profile,
    reference: Reference,
    seed: str,
    cart: tuple[str, ...],
    now_ms: int,
) -> list[tuple[str, ...]]:
    looked_at = tuple(dict.fromkeys(view.product_id for view in reversed(profile.views)))[:PER_SOURCE]
    wished = tuple(sorted(profile.wishlist, key=lambda key: profile.wishlist[key].stamp, reverse=True))[:PER_SOURCE]
    again = [key for key, fact in profile.bought.items() if now_ms - fact.stamp.at_ms >= REBUY_AFTER_MS]
    again.sort(key=lambda key: profile.bought[key].stamp, reverse=True)
    liked = [of_category(name, reference, seed, 3) for name in list(strongest(profile.categories))[:TOP_CATEGORIES]]
    brands = [reference.index.brands.get(name, ()) for name in list(strongest(profile.brands))[:1]]
    rng = Random(stable_seed("brand", seed))
    sampled = [tuple(rng.sample(ids, min(2, len(ids)))) for ids in brands]
    latest = profile.searches[-1] if profile.searches else None
    recent = latest is not None and now_ms - latest.stamp.at_ms < DAY_MS
    searched = reference.search(latest.query, 2) if latest is not None and recent else ()
    return [looked_at, *liked, wished, searched, cart[:2], tuple(again[:PER_SOURCE]), *sampled]
