"""From a decision to the strategy that says it, and the answer of the critic alone. No torch, no Kafka, no Redis, no clock.

Shared by the worker and by whoever answers for it at a deadline of its own (the HTTP gateway): one fallback, not two.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.critic import Critic
from model.explain import explain
from model.message import finish
from model.policy import Decided, Knobs, decide
from model.validity import valid_until
from services.worker_intake import Ask
from streaming.contracts.carrying import carrying
from streaming.contracts.ids import stable_seed
from streaming.contracts.strategies import Strategy, StrategyRequest

TEMPLATE = ""
"""An empty raw text: the message is a plain template."""
PRIOR_HEADS = 8
"""Of the critic that is served until one is announced."""


class Serves(Protocol):
    """What decides: a critic, and what an explanation needs of it."""

    @property
    def critic(self) -> Critic:
        """The snapshot that is served."""

    @property
    def weights(self) -> npt.NDArray[np.floating]:
        """(DIMENSIONS,) of what decides most, to choose what an explanation measures."""

    def mean_values(self, request: StrategyRequest) -> npt.NDArray[np.floating]:
        """The posterior mean over a request's grid, units of reward."""


class Ready:
    """A critic with everything that answering needs of it computed, by a thread that nobody waits for.

    Attributes:
        weights: (DIMENSIONS,) of what decides most: being seen, clicked and ordered; to choose what an explanation measures.
    """

    def __init__(self, critic: Critic) -> None:
        """Compute what its first use would."""
        self.critic = critic
        for each in (critic, critic.mean):
            _ = each.stacked  # made at first use, and kept
        self.weights: npt.NDArray[np.floating] = sum(
            critic.weights[name][0] for name in ("shown", "clicked", "ordered")
        )

    def mean_values(self, request: StrategyRequest) -> npt.NDArray[np.floating]:
        """The posterior mean over a request's grid, units of reward."""
        values: npt.NDArray[np.floating] = self.critic.mean.values(request)[0]
        return values


def rng_of(ask: Ask, seed: int) -> np.random.Generator:
    """A request's own draws, so that a repeat decides alike.

    Args:
        seed: the service's.
    """
    return np.random.default_rng(stable_seed(ask.request.request_id, str(seed)))


def answer_late(asks: Sequence[Ask], by: Serves, knobs: Knobs, seed: int) -> list[Strategy]:
    """Strategies for requests past their deadline: the critic alone, and template texts; their policy says `late`.

    Args:
        knobs: what is served besides the critic; the language model has no part.
    """
    decided = decide(
        [ask.request for ask in asks],
        [ask.grid for ask in asks],
        by.critic,
        None,
        [rng_of(ask, seed) for ask in asks],
        knobs,
    )
    return [strategy_of(ask, one, TEMPLATE, by) for ask, one in zip(asks, decided, strict=True)]


def strategy_of(ask: Ask, decided: Decided, raw: str, by: Serves) -> Strategy:
    """The strategy of a decision.

    Args:
        raw: the message's text as the model wrote it, delexicalised; `TEMPLATE` for none.
        by: what decided, for the explanation.
    """
    message, checks = finish(raw, ask.request, decided.decision)
    return Strategy(
        strategy_id=ask.strategy_id,
        request_id=ask.request.request_id,
        user_id=ask.request.user_id,
        kind=ask.request.kind,
        issued_at=ask.request.issued_at,
        decision=decided.decision,
        message=message,
        valid_until=valid_until(ask.request, decided.decision),
        policy=decided.record,
        propensity=decided.propensity,
        slot_propensities=decided.slot_propensities,
        explanation=explain(ask.request, decided, by.mean_values, by.weights),
        checks=checks,
        request=ask.request,
    )


def encoded(asks: Sequence[Ask], strategies: Sequence[Strategy]) -> list[tuple[Ask, bytes]]:
    """Each with its request in the bytes in which it came: a newer agent's fields go on to whoever knows them."""
    pairs = zip(asks, strategies, strict=True)
    return [(ask, carrying(strategy, "request", ask.record.value or b"")) for ask, strategy in pairs]
