"""The critic of outcomes: what a customer will do with each allowed action, and what that is worth. Pure.

Logistic models say what customers do: p(shown), p(click | shown), p(order | click), p(refund | order), p(unsubscribe |
shown). What is known exactly (margin, discount, cost of a channel) comes in by arithmetic: the reward formula that attribution
uses too, handed in by the caller. Each of the first three models has a posterior mean and K posterior heads, drawn by the
learner and fixed for a version: they are the exploration (DESIGN §5, law 2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from model.critic_features import DIMENSIONS, FEATURES_VERSION, Encoded, encode, spread
from model.formula import RewardFormula
from streaming.contracts.errors import BadEvent
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.strategies import StrategyRequest, grammar_of

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]

TENSORS, FACTS = "critic.safetensors", "critic.json"
"""The two files of a snapshot's directory."""
COMPLAINT_SHARE = 0.15
"""Complaints per unsubscription, assumed: too rare to be learned within a window."""


class HasShape(Protocol):
    """A grid of actions: one axis per slot in order (`model/grid.py`)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values per slot."""


class OutcomeSpec(NamedTuple):
    """What a logistic model sees and what it believes before any data.

    Args:
        given: the outcome that must have happened, empty for none.
        slots: `all`, `closed` (without candidates) or `candidates`.
        prior: probability before any data.
        precision: multiplies the prior precision of every weight: rare outcomes are shrunk more.
        headed: has posterior heads.
    """

    name: str
    given: str
    slots: str
    prior: float
    precision: float
    headed: bool


OUTCOMES: tuple[OutcomeSpec, ...] = (
    OutcomeSpec("shown", "", "closed", 0.6, 1.0, headed=True),
    OutcomeSpec("clicked", "shown", "all", 0.12, 1.0, headed=True),
    OutcomeSpec("ordered", "clicked", "all", 0.3, 1.5, headed=True),
    OutcomeSpec("refunded", "ordered", "candidates", 0.05, 4.0, headed=False),
    OutcomeSpec("unsubscribed", "shown", "closed", 0.004, 4.0, headed=False),
)
PRECISIONS: Floats = np.array([4.0, 10.0, 40.0, 80.0, 20.0])
"""(regions,) prior precision of the weights of each region of `model/critic_features.py`; the learner adapts it."""
PENALTIES: Floats = spread(PRECISIONS)
"""(DIMENSIONS,) the same for every weight."""


class Facts(msgspec.Struct, frozen=True):
    """What a snapshot says beside its weights.

    Args:
        heads: K; `beta`: temperature of the critic's softmax, units of reward.
        units: kind → mean margin of an attributed order over the formula's margin of one unit.
        learned: closed rewards learned from, ever.
    """

    heads: int
    beta: float
    units: dict[str, float]
    learned: int = 0
    features_version: int = FEATURES_VERSION


@dataclass(frozen=True, eq=False)
class Critic:
    """An immutable snapshot.

    Args:
        version: its name, `critic-000012-1a2b3c4d`; names are made by `named`, from the content.
        weights: outcome → (columns, DIMENSIONS) with columns = 1 + K where headed, else 1; row 0 is the mean.
        facts: heads, temperature, units.
        formula: the reward's arithmetic.
    """

    version: str
    weights: Mapping[str, Weights]
    facts: Facts
    formula: RewardFormula

    @classmethod
    def prior(
        cls, seed: int, heads: int, formula: RewardFormula, *, beta: float = 0.005, width: float = 0.1
    ) -> "Critic":
        """What is believed before any reward: means of zero, heads of prior noise scaled by `width`."""
        rng = np.random.default_rng(seed)
        weights: dict[str, Weights] = {}
        for spec in OUTCOMES:
            rows = np.zeros((1 + heads if spec.headed else 1, DIMENSIONS), np.float32)
            if spec.headed:
                noise = rng.standard_normal((heads, DIMENSIONS))
                rows[1:] = width * noise / np.sqrt(spec.precision * PENALTIES)
            weights[spec.name] = rows
        units = dict.fromkeys(GRAMMARS, 1.0)
        return named(cls("", weights, Facts(heads=heads, beta=beta, units=units), formula), 0)

    @property
    def heads(self) -> int:
        """Number of posterior heads, K."""
        return self.facts.heads

    @property
    def beta(self) -> float:
        """Temperature of the critic's softmax, units of reward."""
        return self.facts.beta

    def values(self, request: StrategyRequest, grid: HasShape | None = None) -> Floats:
        """Expected reward of every cell of the grid, forbidden ones included.

        Args:
            grid: checked against the request's slots when given.

        Returns:
            (1 + heads, *grid.shape), major units; [0] is the posterior mean.

        Raises:
            ValueError: when the grid is not this request's.
        """
        shape = tuple(len(slot.values) for slot in request.slots)
        if grid is not None and grid.shape != shape:
            message = f"grid of shape {grid.shape}, wanted {shape}"
            raise ValueError(message)
        return self.worth(request, self.probabilities(request))

    def worth(self, request: StrategyRequest, chances: Mapping[str, Floats]) -> Floats:
        """Expected reward of every cell, as `values` returns it, with these chances of the outcomes.

        Args:
            chances: outcome → p(outcome | the one it is given), as `probabilities` has it, or 0 or 1 where it is known.
        """
        units = self.facts.units.get(request.kind, 1.0)
        margin = self.formula.margin_grid(request) * units
        clicked = chances["shown"] * chances["clicked"]
        ordered = clicked * chances["ordered"]
        left = chances["shown"] * chances["unsubscribed"]
        parts = self.formula.components(
            clicked=clicked,
            ordered=ordered,
            margin=ordered * margin,
            refunded_margin=ordered * chances["refunded"] * np.maximum(margin, 0.0),
            unsubscribed=left,
            complained=COMPLAINT_SHARE * left,
            cost=self.formula.expected_cost_grid(request, chances["shown"]),
            offer=self.formula.offer_grid(request),
            discount=ordered * (self.formula.discount_grid(request) * units),
        )
        shape = (1 + self.heads, *(len(slot.values) for slot in request.slots))
        return np.asarray(sum(parts.values(), np.zeros(shape)))

    def probabilities(self, request: StrategyRequest, decision: Mapping[str, str] | None = None) -> dict[str, Floats]:
        """p(outcome | the one it is given) for every action, or for one decision.

        Returns:
            Outcome → array that broadcasts to (1 + heads, one axis per slot).
        """
        encoded = encode(request, decision)
        size = (len(encoded.indptr) - 1, DIMENSIONS)
        matrix = csr_matrix((encoded.data, encoded.indices, encoded.indptr), shape=size, copy=False)
        scores = np.ascontiguousarray((matrix @ self.stacked).T)  # (columns of all models, rows)
        pointed = [slot.name in grammar_of(request).candidate_slots for slot in request.slots]
        chances: dict[str, Floats] = {}
        start = 0
        for spec in OUTCOMES:
            stop = start + len(self.weights[spec.name])
            chances[spec.name] = _sigmoid(_logits(spec, scores[start:stop], encoded, pointed))
            start = stop
        return chances

    @cached_property
    def mean(self) -> "Critic":
        """The same critic without its heads, for who only asks for the mean: a fraction of the arithmetic. Made once."""
        weights = {name: rows[:1] for name, rows in self.weights.items()}
        return replace(self, weights=weights, facts=msgspec.structs.replace(self.facts, heads=0))

    @cached_property
    def stacked(self) -> Floats:
        """All models' weights side by side, (DIMENSIONS, columns): one product of sparse rows serves all. Made once."""
        return np.ascontiguousarray(np.concatenate([self.weights[spec.name] for spec in OUTCOMES]).T, dtype=np.float64)

    def save(self, directory: Path) -> None:
        """Write tensors and facts into a directory; the name is not content."""
        directory.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(rows) for name, rows in self.weights.items()}, directory / TENSORS)
        (directory / FACTS).write_bytes(msgspec.json.encode(self.facts))

    @classmethod
    def load(cls, directory: Path, formula: RewardFormula, version: str = "") -> "Critic":
        """Read a snapshot; its version is the directory's name unless given.

        Raises:
            BadEvent: other features, missing or misshapen tensors, numbers that are not finite.
        """
        try:
            facts = msgspec.json.decode((directory / FACTS).read_bytes(), type=Facts)
        except (msgspec.MsgspecError, FileNotFoundError) as error:
            raise BadEvent(FACTS, directory.name, f"a critic's facts ({error})") from None
        if facts.features_version != FEATURES_VERSION:
            raise BadEvent("features_version", facts.features_version, str(FEATURES_VERSION))
        try:
            weights = load_file(directory / TENSORS)
        except (SafetensorError, FileNotFoundError) as error:
            raise BadEvent(TENSORS, directory.name, f"a safetensors file ({error})") from None
        return check_intact(cls(version or directory.name, weights, facts, formula))


def named(critic: Critic, sequence: int) -> Critic:
    """The same critic under its name: sequence and a hash of its content."""
    return replace(critic, version=f"critic-{sequence:06d}-{content_hash(critic)[:8]}")


def content_hash(critic: Critic) -> str:
    """SHA-256 over facts and weights, hexadecimal."""
    digest = sha256(msgspec.json.encode(critic.facts))
    for name in sorted(critic.weights):
        digest.update(name.encode() + np.ascontiguousarray(critic.weights[name]).tobytes())
    return digest.hexdigest()


def check_intact(critic: Critic) -> Critic:
    """The critic, when every tensor has its shape and finite numbers.

    Raises:
        BadEvent: naming the tensor.
    """
    for spec in OUTCOMES:
        wanted = (1 + critic.heads if spec.headed else 1, DIMENSIONS)
        rows = critic.weights.get(spec.name)
        if rows is None or rows.shape != wanted or rows.dtype != np.float32:
            found = None if rows is None else (rows.shape, str(rows.dtype))
            raise BadEvent(f"weights.{spec.name}", found, f"float32 of shape {wanted}")
        if not np.isfinite(rows).all():
            raise BadEvent(f"weights.{spec.name}", "not finite", "finite numbers")
    return critic


def prior_logit(spec: OutcomeSpec) -> float:
    """The fixed offset of a model's logit."""
    return float(np.log(spec.prior / (1.0 - spec.prior)))


def sees(spec: OutcomeSpec, *, candidate: bool) -> bool:
    """Whether a model reads a slot; `candidate`: its values are candidates."""
    return spec.slots == "all" or candidate == (spec.slots == "candidates")


def _logits(spec: OutcomeSpec, scores: Floats, encoded: Encoded, pointed: list[bool]) -> Floats:
    """(columns, one axis per slot; 1 where the model does not read the slot)."""
    axes, rows = len(pointed), encoded.rows
    read = [sees(spec, candidate=candidate) for candidate in pointed]
    total: Floats = scores[:, 0].reshape(-1, *([1] * axes)) + prior_logit(spec)
    for axis in reversed(range(axes)):  # small arrays first: the last slots have few values
        if read[axis]:
            shape = [1] * axes
            shape[axis] = len(rows[axis])
            total = total + scores[:, rows[axis].start : rows[axis].stop].reshape(-1, *shape)
    for pair in reversed(encoded.pairs):
        if read[pair.one] and read[pair.other]:
            shape = [1] * axes
            shape[pair.one], shape[pair.other] = len(rows[pair.one]), len(rows[pair.other])
            total = total + scores[:, pair.rows.start : pair.rows.stop].reshape(-1, *shape)
    return total


def _sigmoid(logits: Floats) -> Floats:
    result: Floats = 1.0 / (1.0 + np.exp(-np.clip(logits, -40.0, 40.0)))
    return result
