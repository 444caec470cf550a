"""Events that name a strategy become its facts, or wait for a strategy that has not been read yet. Pure."""

from msgspec.structs import replace

from streaming.attribution_credit import meaning, timeline
from streaming.contracts.events import AdCostProperties, Event
from streaming.contracts.money import to_minor
from streaming.open_state import Echo, OpenState, OpenStrategy, Windows

MAX_SAME_FACTS = 64
"""Facts of one name (and currency) kept per strategy: the first and the latest; costs beyond it are added together."""


def named(event: Event) -> str:
    """The strategy that the event echoes, empty when it names none."""
    return getattr(event.properties, "strategy_id", None) or ""


def echo_of(event: Event) -> Echo:
    """The event as a fact.

    Raises:
        BadEvent: a cost that cannot be minor units of its currency.
    """
    amount, currency = 0, ""
    if isinstance(event.properties, AdCostProperties):
        currency = event.properties.currency
        amount = to_minor(event.properties.cost, currency, "properties.cost")
    return Echo(named(event), event.message_id, event.name, event.at_ms, amount, currency)


def with_echo(state: OpenState, echo: Echo, windows: Windows) -> OpenState:
    """The echo as a fact of its strategy, or kept for a strategy that has not been read yet."""
    if any(s.strategy_id == echo.strategy_id for s in state.strategies):
        strategies = tuple(
            with_fact(s, echo, windows) if s.strategy_id == echo.strategy_id else s for s in state.strategies
        )
        return replace(state, strategies=strategies)
    if any(other.message_id == echo.message_id for other in state.early):
        return state
    early = sorted((*state.early, echo), key=lambda e: (e.at_ms, e.message_id))
    return replace(state, early=tuple(early))


def with_fact(strategy: OpenStrategy, echo: Echo, windows: Windows) -> OpenStrategy:
    """The strategy with one more fact; what says nothing to its kind, or of a ghost, is passed over."""
    known = any(fact.message_id == echo.message_id for fact in strategy.facts)
    if known or strategy.ghost or meaning(strategy, echo.name) is None:
        return strategy
    facts = sorted((*strategy.facts, echo), key=lambda f: (f.at_ms, f.message_id))
    return _bounded(replace(strategy, facts=tuple(facts)), echo, windows)


def _bounded(strategy: OpenStrategy, echo: Echo, windows: Windows) -> OpenStrategy:
    """What can never lie in a window goes first; then the first of a name and the latest say all that windows ask."""
    same = [fact for fact in strategy.facts if (fact.name, fact.currency) == (echo.name, echo.currency)]
    if len(same) <= MAX_SAME_FACTS:
        return strategy
    latest_ms = timeline(strategy, windows).latest_ms
    outside = [fact for fact in same if fact.at_ms >= latest_ms]
    if outside:
        return replace(strategy, facts=tuple(fact for fact in strategy.facts if fact is not outside[-1]))
    return replace(strategy, facts=_thinned(strategy.facts, same))


def _thinned(facts: tuple[Echo, ...], same: list[Echo]) -> tuple[Echo, ...]:
    """Without the second of the same facts, whose amount the third takes over: none is dropped."""
    dropped, heir = same[1], same[2]
    both = replace(heir, amount_minor=heir.amount_minor + dropped.amount_minor)
    return tuple(both if fact is heir else fact for fact in facts if fact is not dropped)
