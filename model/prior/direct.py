"""A response model as the model of the reward: the direct method of off-policy evaluation, and of its doubly robust form. Pure.

Of each logged request the run is asked for every allowed value that the log has a word for; what it says of clicks, and of orders given a click,
takes the place of the critic's own answers in the one formula. The rest (who sees it, refunds, who leaves) remains the critic's, fitted on other
customers. A run needs no cross-fitting: it is used for decisions made after everything that it has learned from had ended.

References:
    Dudik, Langford, Li (2011), Doubly robust policy evaluation and learning, ICML.
"""

import itertools
from collections.abc import Mapping as Lookup
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from model.critic import Critic
from model.prior.believing import of_labels
from model.prior.logged import words_for
from model.prior.mapping import ASKABLE, Mapping, OfKind
from model.prior.requests import numbers_of
from model.response.proposals import probabilities
from model.response.served import Served
from model.response.tables import Tables
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest

Floats = npt.NDArray[np.float64]
Known = dict[str, Floats]
"""Outcome \u2192 chances that broadcast to a request's grid; NaN where the run cannot say."""


class Told(msgspec.Struct, frozen=True):
    """How far a run could be asked.

    Args:
        rewards: that policies are valued on with it, those newer than what it has learned from.
        answered: of them, whose done action it could say something of.
        customers_known: share of them whose customer the folder knows.
        left_out: kind \u2192 why it is not asked.
    """

    run: str
    models: dict[str, str]
    learned_until: str
    rewards: int
    answered: int
    customers_known: float
    left_out: dict[str, str]


@dataclass(frozen=True, eq=False)
class Informed(Critic):
    """A critic whose answers are another's where that one knows."""

    known: Lookup[str, Floats] = field(default_factory=dict)

    def probabilities(self, request: StrategyRequest, decision: Lookup[str, str] | None = None) -> Known:
        """As the critic's, with what is known in its place."""
        chances = super().probabilities(request, decision)
        return chances | {name: np.where(np.isnan(own), chances[name], own) for name, own in self.known.items()}


def newer(served: Served, rewards: Sequence[Reward]) -> list[int]:
    """Places of the rewards whose decisions are from after what the run has learned from."""
    return [place for place, reward in enumerate(rewards) if reward.issued_at >= served.learned_until]


def valued(
    served: Served, tables: Tables, mapping: Mapping, rewards: Sequence[Reward], fits: Sequence[Critic], model: str = ""
) -> tuple[list[Floats], Told]:
    """Q of every action of each reward's request, units of reward, and how far the run was asked.

    Args:
        fits: per reward a critic that has not seen its customer.
        model: of the run; each label's best where empty.
    """
    known, left_out = answered(served, tables, mapping, [reward.request for reward in rewards], model)
    values, count = [], 0
    for reward, fit, own in zip(rewards, fits, known, strict=True):
        critic = Informed(fit.version, fit.weights, fit.facts, fit.formula, own)
        values.append(np.asarray(critic.values(reward.request)[0], np.float64))
        count += _speaks(reward, own)
    people = set(tables.behaviours["customer_id"])
    share = float(np.mean([reward.user_id in people for reward in rewards])) if rewards else 0.0
    models = {label: model or served.best[label] for label in served.labels}
    return values, Told(served.run.name, models, served.learned_until.isoformat(), len(rewards), count, share, left_out)


def answered(
    served: Served, tables: Tables, mapping: Mapping, requests: Sequence[StrategyRequest], model: str = ""
) -> tuple[list[Known], dict[str, str]]:
    """Per request what the run says of its grid, an axis of one where a slot is not asked; and kinds that are not asked, and why."""
    asked, left_out = _asked_slots(served, tables, mapping)
    parts = [_cells(request, *asked[request.kind], tables) if request.kind in asked else [] for request in requests]
    rows = [row for part in parts for _, row in part]
    if not rows:
        return [{} for _ in requests], left_out
    schema: dict[str, Any] = {
        "customer_id": pl.String,
        "at": pl.Datetime("ms", "UTC"),
        **dict.fromkeys(ASKABLE, pl.String),
    }
    own = list(numbers_of(tables, mapping).values())
    frame = pl.DataFrame(rows, schema=schema | dict.fromkeys(own, pl.Float64), strict=False)
    frame = frame.with_columns([pl.col(name).fill_null(tables.exposures[name].mean()) for name in own])
    chances = probabilities(served, tables, frame, model)
    found, start = [], 0
    for request, part in zip(requests, parts, strict=True):
        mine = chances[start : start + len(part)]
        start += len(part)
        found.append(_gridded(served, request, asked[request.kind], part, mine) if part else {})
    return found, left_out


_Slots = tuple[OfKind, dict[str, dict[str, str]], dict[str, str]]
"""The kind, words per asked closed slot, and the request's number \u2192 the shop's own feature."""


def _asked_slots(served: Served, tables: Tables, mapping: Mapping) -> tuple[dict[str, _Slots], dict[str, str]]:
    found: dict[str, _Slots] = {}
    left_out = {}
    for said in mapping.kind:
        pointed = [slot for slot in said.slots if slot in GRAMMARS[said.kind].candidate_slots]
        hidden = [slot for slot in pointed if said.slots[slot].column not in ASKABLE]
        label = said.outcomes["clicked"]
        if label not in served.labels:
            left_out[said.kind] = f"the run has no label {label!r} for a click; it has {', '.join(served.labels)}"
        elif hidden:
            column = said.slots[hidden[0]].column
            left_out[said.kind] = f"its {hidden[0]} stands in {column}, which an exposure that was never made cannot be given"  # fmt: skip
        else:
            closed = [slot for slot, of in said.slots.items() if slot not in pointed and of.column in ASKABLE]
            words = {slot: words_for(tables, said.slots[slot]) for slot in closed}
            found[said.kind] = said, words, numbers_of(tables, mapping)
    return found, left_out


def _cells(
    request: StrategyRequest, said: OfKind, words: dict[str, dict[str, str]], named: dict[str, str], tables: Tables
) -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    """Cells of the asked slots' grid with the exposure that each would be; those that the log has no word for are left out."""
    axes: list[list[tuple[int, dict[str, str]]]] = []
    for slot in request.slots:
        of = said.slots.get(slot.name)
        if of is None or of.column not in ASKABLE:
            axes.append([(0, {})])
        elif slot.name in words:
            axes.append([(place, {str(of.column): words[slot.name][value]}) for place, value in enumerate(slot.values) if value in words[slot.name]])  # fmt: skip
        else:
            known = _ids(tables, of.column)
            axes.append([(place, {str(of.column): value}) for place, value in enumerate(slot.values) if value in known])
    base: dict[str, Any] = {"customer_id": request.user_id, "at": request.issued_at.astimezone(UTC)}
    base |= {own: request.features.numbers.get(name) for name, own in named.items()}
    found = []
    for cell in itertools.product(*axes):
        row: dict[str, Any] = dict(base)
        for _, part in cell:
            row |= part
        found.append((tuple(place for place, _ in cell), row))
    return found


def _ids(tables: Tables, column: str) -> set[str]:
    frame = tables.products if column == "product_id" else tables.ads
    return set() if frame is None else set(frame[column])


def _gridded(
    served: Served, request: StrategyRequest, asked: _Slots, part: list[tuple[tuple[int, ...], dict[str, Any]]], chances: Floats
) -> Known:  # fmt: skip
    said = asked[0]
    shape = [
        len(slot.values) if slot.name in said.slots and said.slots[slot.name].column in ASKABLE else 1
        for slot in request.slots
    ]
    clicked, ordered = of_labels(served, said, chances)
    found: Known = {}
    for name, values in (("clicked", clicked), ("ordered", ordered)):
        if values is not None:
            found[name] = np.full((1, *shape), np.nan)
            for (cell, _), value in zip(part, values, strict=True):
                found[name][(0, *cell)] = value
    return found


def _speaks(reward: Reward, own: Known) -> bool:
    """Whether the run says something of the action that was done."""
    if "clicked" not in own:
        return False
    shape = own["clicked"].shape[1:]
    places = [slot.values.index(reward.decision[slot.name]) for slot in reward.request.slots]
    cell = tuple(min(place, size - 1) for place, size in zip(places, shape, strict=True))
    return bool(np.isfinite(own["clicked"][(0, *cell)]))
