"""Where candidates come from: what the moment names, and what the customer did. Pure."""

from collections.abc import Mapping, Sequence

from streaming.contracts.catalog import Campaign
from streaming.features import Relations
from streaming.profile_parts import Profile
from streaming.reference import Reference
from streaming.rules import DAY_MS
from streaming.sampling import Draws, drawn
from streaming.stamps import Stamped
from streaming.triggers import Moment

FOUND = 12
"""Products a query may bring."""
PER_SOURCE = 6
SAMPLED = 24
"""Products of a category or campaign that are looked at, at most."""
COMPARED = 4
"""Products of a category that are compared by popularity for each that is wanted."""
TOP_CATEGORIES = 3
BESIDE = 2
"""Products that the customer has of late whose neighbours by their vectors are looked at."""
REBUY_AFTER_MS = 5 * DAY_MS


def sources(
    profile: Profile, moment: Moment, relations: Relations, campaign: Campaign | None, now_ms: int, draws: Draws
) -> tuple[tuple[str, ...], list[Sequence[str]]]:
    """Product ids that the moment names, and lists of others, best first.

    A campaign or a category that the moment is about bounds everything.
    """
    reference = relations.reference
    if campaign is not None:
        return (), [of_campaign(campaign, reference, draws)]
    if category := moment.context.get("category"):
        return (), [tuple(view.product_id for view in reversed(profile.views) if view.category == category)[:PER_SOURCE],
                    of_category(category, reference, draws, SAMPLED)]  # fmt: skip
    cart = tuple(sorted(relations.cart))
    named = tuple(filter(None, (moment.context.get("product"),)))
    if moment.trigger == "cart_abandoned":
        named += cart
    if query := moment.context.get("query"):
        named += reference.search(query, FOUND)
    return named, [*_of_customer(profile, relations, cart, now_ms, draws), reference.popular[:FOUND]]


def of_category(category: str, reference: Reference, draws: Draws, limit: int) -> Sequence[str]:
    """Products of a category, the more popular ones of a sample first: of `COMPARED` for each that is wanted."""
    found = reference.by_popularity(drawn(reference.in_category(category), min(SAMPLED, COMPARED * limit), draws))
    return found[:limit]


def of_campaign(campaign: Campaign, reference: Reference, draws: Draws) -> list[str]:
    """A sample of a campaign's own products; of its categories where it names no products."""
    ids = campaign.product_ids or tuple(p for name in campaign.categories for p in reference.in_category(name))
    return drawn(ids, SAMPLED, draws)


def _of_customer(
    profile: Profile, relations: Relations, cart: tuple[str, ...], now_ms: int, draws: Draws
) -> list[Sequence[str]]:
    reference, liked = relations.reference, relations.affinities
    found: list[Sequence[str]] = [
        tuple(dict.fromkeys(view.product_id for view in reversed(profile.views)))[:PER_SOURCE]
    ]
    if (placed := reference.placed) is not None:
        found += [placed.beside(product_id, PER_SOURCE) for product_id in relations.recent[:BESIDE]]
    found += [of_category(name, reference, draws, 3) for name in list(liked.categories)[:TOP_CATEGORIES]]
    found.append(_newest(profile.wishlist))
    latest = profile.searches[-1] if profile.searches else None
    if latest is not None and now_ms - latest.stamp.at_ms < DAY_MS:
        found.append(reference.search(latest.query, 2))
    found.append(cart[:2])
    found.append(_newest({k: f for k, f in profile.bought.items() if now_ms - f.stamp.at_ms >= REBUY_AFTER_MS}))
    found += [drawn(reference.index.brands.get(name, ()), 2, draws) for name in list(liked.brands)[:1]]
    return found


def _newest(facts: Mapping[str, Stamped]) -> list[str]:
    return sorted(facts, key=lambda key: facts[key].stamp, reverse=True)[:PER_SOURCE]
