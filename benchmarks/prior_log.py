"""What a shop of a simulated world would have logged before it had Stratagem: exposures by chance, and what followed, as CSV files.

`stratagem data prepare --mapping` reads them. The log knows what a shop knows: who was shown what where, who clicked and bought, the customers'
numbers at that moment (`features.csv`), what they had looked at and bought earlier.
"""

import csv
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.worlds.lexicon import CATEGORIES
from benchmarks.worlds.people import affinity
from benchmarks.worlds.world import Moment, World
from streaming.contracts.ids import stable_seed
from streaming.contracts.strategies import candidate_by_id

EARLIER_DAYS, VIEWS = 40, 12
"""Of browsing before the log, and how many products each customer looked at then."""
CLICKED_AFTER, BOUGHT_AFTER = timedelta(minutes=5), timedelta(minutes=30)

MAPPING = """
name = "world"
currency = "USD"
money = "minor"
[[table]]
table = "products"
files = "products.csv"
columns = { product_id = "id", name = "name", description = "text", category = "category", type = "type", brand = "brand", price_minor = "price" }
near_duplicates = "group"
[[table]]
table = "ads"
files = "ads.csv"
columns = { ad_id = "id", kind = "kind", title = "title", body = "body", products = "products" }
near_duplicates = "group"
[[table]]
table = "offers"
files = "offers.csv"
columns = { offer_id = "id", ad_id = "ad", product_id = "product" }
[[table]]
table = "behaviours"
files = "behaviours.csv"
columns = { event_id = "id", customer_id = "customer", at = "at", action = "action", product_id = "product", ad_id = "ad", channel = "channel", placement = "placement" }
[[table]]
table = "transactions"
files = "transactions.csv"
columns = { order_id = "id", customer_id = "customer", at = "at", product_id = "product", amount_minor = "amount" }
constants = { state = "order" }
[[label]]
name = "click"
table = "exposures"
source = "a click within two hours"
rule = { kind = "response", actions = ["click"], within_h = 2.0 }
[[label]]
name = "purchase"
table = "exposures"
source = "an order within two hours"
rule = { kind = "response", actions = ["purchase"], within_h = 2.0 }
"""

Line = dict[str, object]


class Shown(NamedTuple):
    """One logged interaction that the customer saw."""

    moment: Moment
    index: tuple[int, ...]
    line: Line
    clicked: bool
    ordered: bool


def write(world: World, count: int, folder: Path) -> list[Shown]:
    """The log of the `count` interactions before the world's first, as a folder of CSV files, `mapping.toml` and `features.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mapping.toml").write_text(MAPPING)
    shown = [one for number in range(-count, 0) if (one := _shown(world, number)) is not None]
    ads, offers = _ads(world, shown)
    products = [_product(good) for good in world.shop.assortment(0, "product")]
    behaviours = [*_earlier(world, shown[0].moment.request.issued_at), *_deeds(shown)]
    _csv(folder / "products.csv", products)
    _csv(folder / "ads.csv", ads)
    _csv(folder / "offers.csv", offers)
    _csv(folder / "behaviours.csv", [{"id": f"e{place}", **line} for place, line in enumerate(behaviours)])
    bought = [line for line in behaviours if line["action"] == "purchase" and line["product"]]
    prices = {line["id"]: line["price"] for line in products}
    orders = [
        {key: line[key] for key in ("customer", "at", "product")} | {"amount": prices[line["product"]]}
        for line in bought
    ]
    _csv(folder / "transactions.csv", [{"id": f"o{place}", **line} for place, line in enumerate(orders)])
    _csv(folder / "features.csv", [_features(one) for one in shown])
    return shown


def _shown(world: World, number: int) -> Shown | None:
    moment = world.moment(number)
    kind = moment.request.kind
    if kind == "ranking":  # how a list was ordered is in no log
        return None
    rng = np.random.default_rng(stable_seed("logged", str(world.seed), str(number)))
    index = tuple(int(place) for place in np.unravel_index(int(rng.choice(np.flatnonzero(moment.grid.allowed))), moment.grid.shape))  # fmt: skip
    outcomes = world.answer(moment, index)
    if not outcomes.shown:
        return None
    decision = moment.grid.decision(index)
    line: Line = {"customer": moment.request.user_id, "at": moment.request.issued_at, "action": "exposure", "product": "", "ad": "",
                  "channel": decision.get("channel", ""), "placement": decision.get("placement", "")}  # fmt: skip
    if kind == "recommendation":
        line["product"] = decision["product"]
    elif kind == "ad":
        line["ad"] = decision["campaign"]
    else:
        line["ad"] = f"{decision['product']}-{decision['offer_type']}-{decision['discount']}"
    return Shown(moment, index, line, outcomes.clicked, outcomes.ordered)


def _deeds(shown: list[Shown]) -> Iterator[Line]:
    for one in shown:
        yield one.line
        at = one.line["at"]
        assert isinstance(at, datetime)
        if one.clicked:
            yield one.line | {"action": "click", "at": at + CLICKED_AFTER}
        if one.ordered:
            yield one.line | {"action": "purchase", "at": at + BOUGHT_AFTER}


def _earlier(world: World, begin: datetime) -> Iterator[Line]:
    """What customers looked at by their tastes, and bought, before the log."""
    goods = world.shop.assortment(0, "product")
    by_category = [[good for good in goods if good.category == place] for place in range(len(CATEGORIES))]
    from benchmarks.worlds.grids import tastes_of

    for person in world.people:
        rng = np.random.default_rng(stable_seed("earlier", str(world.seed), person.user_id))
        tastes = tastes_of(person, world.effects, world.knobs, 0)
        liked = np.array(
            [
                affinity(float(taste + 0.3 * rng.standard_normal())) if by_category[place] else 0.0
                for place, taste in enumerate(tastes)
            ]
        )
        places = rng.choice(len(liked), VIEWS, p=liked / liked.sum())
        seen = [by_category[place][int(rng.integers(len(by_category[place])))].id for place in places]
        deeds = [("view", product) for product in seen] + [
            ("purchase", f"p{place:04d}") for place in sorted(person.bought)
        ]
        for action, product in deeds:
            at = begin - timedelta(minutes=float(rng.uniform(60, EARLIER_DAYS * 1440)))
            yield {"customer": person.user_id, "at": at, "action": action, "product": product, "ad": "", "channel": "", "placement": ""}  # fmt: skip


def _ads(world: World, shown: list[Shown]) -> tuple[list[Line], list[Line]]:
    found: dict[str, Line] = {}
    offers: list[Line] = []
    campaigns = {good.id: good for good in world.shop.assortment(0, "campaign")}
    for one in shown:
        identity, decision = str(one.line["ad"]), one.moment.grid.decision(one.index)
        if not identity or identity in found:
            continue
        if identity in campaigns:
            good = campaigns[identity]
            found[identity] = {"id": identity, "kind": "campaign", "title": good.name, "body": good.text, "products": ""}  # fmt: skip
            continue
        product = candidate_by_id(one.moment.request)[decision["product"]]
        offer = f"{decision['discount']}% off" if decision["offer_type"] == "percent_off" else decision["offer_type"].replace("_", " ")  # fmt: skip
        found[identity] = {"id": identity, "kind": "promotion", "title": f"{offer} {product.name}", "body": product.text, "products": product.id}  # fmt: skip
        offers.append({"id": f"offer-{identity}", "ad": identity, "product": product.id})
    return list(found.values()), offers


def _product(good: object) -> Line:
    from benchmarks.worlds.shop import Good

    assert isinstance(good, Good)
    label, nouns = CATEGORIES[good.category]
    noun = next((noun for noun in nouns if good.name.endswith(noun)), label)
    return {"id": good.id, "name": good.name, "text": good.text, "category": label, "type": noun, "brand": good.brand, "price": good.price_minor}  # fmt: skip


def _features(one: Shown) -> Line:
    at = one.line["at"]
    return {"customer_id": one.line["customer"], "at": at, "known_at": at, **one.moment.request.features.numbers}


def _csv(path: Path, lines: list[Line]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        for line in lines:
            plain = {key: value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(value, datetime) else value for key, value in line.items()}  # fmt: skip
            writer.writerow(plain)
