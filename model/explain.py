"""Why this decision: measured effects of features, the alternatives, and what rules removed. Pure.

Which features are worth measuring is seen from the critic's weights at once (its scores are linear in the customer's
features); their effect on a slot is then measured, not guessed: the critic values the decision and the decision with that slot's
strongest alternative once more without the feature. The change of log p(chosen value), taken among these two with the
other slots as chosen and scaled by the critic's share of the decision, is the effect. Positive: the feature spoke for the
choice. Where the critic had no share (arms lm and random) nothing is claimed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import numpy.typing as npt

from model.critic_features import REGION_STARTS, TEXT_CROSS, Encoded, encode
from model.policy import Decided
from streaming.contracts.features import NUMBERS
from streaming.contracts.strategies import (
    Alternative,
    Candidate,
    Effect,
    Explanation,
    Features,
    Slot,
    StrategyRequest,
    candidate_by_id,
    grammar_of,
)

MEASURED_OF_CUSTOMER = 2
"""Features of the customer that are tried per decision, beside a relation and the channel's response."""
MAX_MEASURED = MEASURED_OF_CUSTOMER + 2
"""Each costs one valuation of at most 2 ** slots actions."""
MAX_EFFECTS = 5
MAX_ALTERNATIVES = 2
"""Other values named per slot, most probable first."""
LEAST_NATS = 1e-3

Values = Callable[[StrategyRequest], npt.NDArray[np.floating]]
"""The critic's posterior mean over a request's grid, (*shape), units of reward."""


def explain(
    request: StrategyRequest, decided: Decided, values: Values, weights: npt.NDArray[np.floating]
) -> Explanation:
    """Explain one decision.

    Args:
        request: what was asked.
        decided: what was answered, with the slots' distributions.
        values: of the critic that decided; called `MAX_MEASURED` + 1 times at most.
        weights: (DIMENSIONS,) of that critic, to choose what is measured.
    """
    return Explanation(
        effects=_effects(request, decided, values, weights) if decided.record.critic_weight > 0 else (),
        alternatives=tuple(_alternatives(request, decided)),
        removed=request.removed,
    )


def _alternatives(request: StrategyRequest, decided: Decided) -> Iterator[Alternative]:
    for slot, distribution, chosen in zip(request.slots, decided.slots, decided.index, strict=True):
        ranked = np.argsort(-distribution.marginal, kind="stable")
        others = [int(i) for i in ranked if i != chosen and distribution.marginal[i] > 0.0][:MAX_ALTERNATIVES]
        for i in others:
            yield Alternative(slot.name, slot.values[i], min(1.0, float(distribution.marginal[i])))


def _effects(
    request: StrategyRequest, decided: Decided, values: Values, weights: npt.NDArray[np.floating]
) -> tuple[Effect, ...]:
    contrast = _contrast(request, decided)
    scale = decided.record.critic_weight / decided.record.beta
    open_slots = [axis for axis, slot in enumerate(contrast.slots) if len(slot.values) > 1]
    before = _log_chances(values(contrast), open_slots, scale)
    found = []
    for name, without in _variants(contrast, weights):
        after = _log_chances(values(without), open_slots, scale)
        for axis, nats in zip(open_slots, before - after, strict=True):
            found.append(Effect(name, contrast.slots[axis].name, round(float(nats), 4)))
    found.sort(key=lambda effect: -abs(effect.effect_nats))
    return tuple(effect for effect in found[:MAX_EFFECTS] if abs(effect.effect_nats) >= LEAST_NATS)


def _contrast(request: StrategyRequest, decided: Decided) -> StrategyRequest:
    """The same request with, per slot, the chosen value and its strongest alternative only."""
    slots = []
    for slot, distribution, chosen in zip(request.slots, decided.slots, decided.index, strict=True):
        others = distribution.marginal.copy()
        others[chosen] = 0.0
        strongest = int(others.argmax())
        kept = (chosen, strongest) if others[strongest] > 0.0 else (chosen,)
        slots.append(Slot(slot.name, tuple(slot.values[i] for i in kept)))
    pointed = [slot for slot in slots if slot.name in grammar_of(request).candidate_slots]
    offered = candidate_by_id(request)
    named = dict.fromkeys(value for slot in pointed for value in slot.values)  # the chosen one first
    candidates = tuple(offered[value] for value in named)
    return msgspec.structs.replace(request, slots=tuple(slots), candidates=candidates, exclusions=())


def _log_chances(values: npt.NDArray[np.floating], open_slots: list[int], scale: float) -> npt.NDArray[np.float64]:
    """Per open slot: log p(chosen | the other slots as chosen) among chosen and alternative."""
    chosen = values[(0,) * values.ndim]
    gaps = []
    for axis in open_slots:
        other = [0] * values.ndim
        other[axis] = 1
        gaps.append((float(values[tuple(other)]) - float(chosen)) * scale)
    return -np.logaddexp(0.0, np.array(gaps, np.float64))


def _variants(request: StrategyRequest, weights: npt.NDArray[np.floating]) -> Iterator[tuple[str, StrategyRequest]]:
    """The contrast without one feature, for the features most likely to matter."""
    names = [*_of_customer(request, weights), *_related(request.candidates), *_of_channel(request)]
    for group, name in names:
        if group == "relation":
            candidates = tuple(
                msgspec.structs.replace(candidate, relation=_without(candidate.relation, name))
                for candidate in request.candidates
            )
            yield f"relation:{name}", msgspec.structs.replace(request, candidates=candidates)
        else:
            features: Features = msgspec.structs.replace(
                request.features, **{group: _without(getattr(request.features, group), name)}
            )
            label = name if group in ("numbers", "categories") else f"{group}:{name}"
            yield label, msgspec.structs.replace(request, features=features)


def _of_customer(request: StrategyRequest, weights: npt.NDArray[np.floating]) -> list[tuple[str, str]]:
    """The customer's features whose crosses with chosen and alternative differ most, over all slots.

    A row of the critic's features ends with its crosses, the customer's features running fastest, in the order:
    trigger, language, categories, numbers by their bins and by their ranks, category affinities.
    """
    features = request.features
    names = [("categories", name) for name in features.categories] + [("numbers", name) for name in features.numbers]
    atoms = [*names, *(("numbers", name) for name in features.numbers if name in NUMBERS)]
    atoms += [("category_affinity", name) for name in features.category_affinity]
    encoded, width = encode(request), 2 + len(atoms)
    gaps = dict.fromkeys(atoms, 0.0)
    for rows in encoded.rows:
        if len(rows) > 1:
            one, other = (_by_atom(encoded, row, weights, width)[2:] for row in rows[:2])
            by_name: defaultdict[tuple[str, str], float] = defaultdict(float)
            for name, gap in zip(atoms, one - other, strict=True):
                by_name[name] += float(gap)
            for name, gap in by_name.items():
                gaps[name] += abs(gap)
    return sorted(gaps, key=lambda name: -gaps[name])[:MEASURED_OF_CUSTOMER]


def _by_atom(encoded: Encoded, row: int, weights: npt.NDArray[np.floating], atoms: int) -> npt.NDArray[np.float64]:
    """(atoms,) what each of the customer's features adds to a value's score."""
    span = slice(encoded.indptr[row], encoded.indptr[row + 1])
    index, data = encoded.indices[span], encoded.data[span]
    crossed = index >= REGION_STARTS[TEXT_CROSS]
    parts = weights[index[crossed]] * data[crossed]
    total: npt.NDArray[np.float64] = parts.reshape(-1, atoms).sum(axis=0)
    return total


def _related(candidates: tuple[Candidate, ...]) -> list[tuple[str, str]]:
    """The relation in which the chosen candidate differs most from the alternative."""
    first, other = (*(candidate.relation for candidate in candidates[:2]), {}, {})[:2]
    gap = {name: abs(share - other.get(name, 0.0)) for name, share in first.items()}
    ranked = sorted((name for name in gap if gap[name] > 0.0), key=lambda name: (-gap[name], name))
    return [("relation", name) for name in ranked[:1]]


def _of_channel(request: StrategyRequest) -> list[tuple[str, str]]:
    """How the customer answers on the chosen channel."""
    channels = [slot.values[0] for slot in request.slots if slot.name == "channel"]
    return [("channel_response", name) for name in channels if name in request.features.channel_response]


def _without(shares: dict[str, float], name: str) -> dict[str, float]:
    return {key: value for key, value in shares.items() if key != name}
