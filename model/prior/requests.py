"""Exposures that were never made, as the requests and decisions that would have made them. Pure.

A request made here holds the slots that the log speaks of and no other: of the rest nothing is claimed, and nothing is taught.
"""

from collections.abc import Mapping as Lookup
from datetime import datetime
from typing import Any, NamedTuple, get_args

import numpy as np
import polars as pl
from msgspec import structs

from model.data.tables import PATH_SEPARATOR
from model.prior.history import History
from model.prior.mapping import Mapping, OfKind
from model.response.tables import Tables
from streaming.contracts.features import NUMBERS
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.strategies import Candidate, Features, Slot, StrategyRequest, Trigger

DEADLINE_S = 10.0
ASIDE = "decision_requested"
TRIGGERS: tuple[Trigger, ...] = tuple(name for name in get_args(Trigger) if name != ASIDE)
"""A log does not say what a strategy would have been asked for: any of these, by chance."""


class Pair(NamedTuple):
    """A request and its decision."""

    request: StrategyRequest
    decision: dict[str, str]


def numbers_of(tables: Tables, mapping: Mapping) -> dict[str, str]:
    """A request's number → the shop's own feature that says it: by the mapping, else of the same name."""
    named = {name: name for name in tables.own if name in NUMBERS} | mapping.numbers
    return {name: own for name, own in named.items() if own in tables.own}


class Goods:
    """Products and ads of a folder as candidates, without what depends on the customer."""

    def __init__(self, tables: Tables) -> None:
        """Read what they say of themselves."""
        self._products = _rows(tables.products, "product_id", ("name", "category", "brand", "description", "price_minor", "launched_at"))  # fmt: skip
        self._ads = _rows(tables.ads, "ad_id", ("title", "body", "starts_at"))

    def candidate(self, slot: str, identity: str, at: datetime) -> Candidate:
        """A candidate of a slot; of an id that the folder does not know, the id alone."""
        campaign = slot == "campaign"
        said = (self._ads if campaign else self._products).get(identity, {})
        path = said.get("category") or ""
        begun = said.get("starts_at") if campaign else said.get("launched_at")
        return Candidate(
            id=identity,
            what="campaign" if campaign else "product",
            name=said.get("title" if campaign else "name") or identity,
            category=tuple(path.split(PATH_SEPARATOR)) if path else (),
            brand=said.get("brand") or "",
            text=(said.get("body" if campaign else "description") or "")[:200],
            price_minor=max(int(said.get("price_minor") or 0), 0),
            margin_minor=0,
            max_discount_pct=0,
            age_days=max((at - begun).total_seconds() / 86_400, 0.0) if begun else 0.0,
        )


class Asking:
    """Makes pairs of a folder's customers and exposures."""

    def __init__(self, tables: Tables, mapping: Mapping) -> None:
        """Read histories and goods once."""
        self._history, self._goods = History(tables), Goods(tables)
        self._numbers = numbers_of(tables, mapping)

    def pair(self, said: OfKind, row: Lookup[str, Any], number: int, rng: np.random.Generator) -> Pair:
        """The request and decision of one exposure, made or not.

        Args:
            row: `customer_id, at`, the shop's own features and `slot NAME`.
        """
        customer, at = str(row["customer_id"]), row["at"]
        decision = {slot: str(row[f"slot {slot}"]) for slot in said.slots if row[f"slot {slot}"] is not None}
        grammar, liked = GRAMMARS[said.kind], self._history.before(customer, at)
        candidates = []
        for slot in (slot for slot in decision if slot in grammar.candidate_slots):
            plain = self._goods.candidate(slot, decision[slot], at)
            shelf = plain.category[min(1, len(plain.category) - 1)] if plain.category else ""
            candidates.append(structs.replace(plain, relation=liked.relation(plain.id, shelf, plain.brand)))
        request = StrategyRequest(
            request_id=f"prior_{number:06d}", user_id=customer, kind=said.kind, trigger=TRIGGERS[int(rng.integers(len(TRIGGERS)))],
            arm="critic", issued_at=at, deadline_s=DEADLINE_S, language="en", currency="USD",
            features=Features(
                numbers={name: float(row[own] or 0.0) for name, own in self._numbers.items()},
                categories={}, category_affinity=liked.strongest, brand_affinity=liked.strongest_brands,
            ),
            candidates=tuple(candidates),
            slots=tuple(Slot(slot, (decision[slot],)) for slot in grammar.slots if slot in decision),
        )  # fmt: skip
        return Pair(request, decision)


def _rows(frame: pl.DataFrame | None, key: str, columns: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    if frame is None:
        return {}
    there = [name for name in columns if name in frame.columns]
    return {row[key]: row for row in frame.unique(key, keep="first").select(key, *there).iter_rows(named=True)}
