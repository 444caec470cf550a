"""Events that name a strategy become its facts, or wait for a strategy that has not been read yet. Pure."""

from msgspec.structs import replace

from streaming.attribution_credit import meaning
from streaming.contracts.events import AdCostProperties, Event
from streaming.contracts.money import to_minor
from streaming.open_state import Echo, OpenState, OpenStrategy

MAX_SAME_FACTS = 16
"""Facts of one name kept per strategy: the first and the latest; costs beyond it are added together."""


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


def with_echo(state: OpenState, echo: Echo) -> OpenState:
    """The echo as a fact of its strategy, or kept for a strategy that has not been read yet."""
    if any(s.strategy_id == echo.strategy_id for s in state.strategies):
        strategies = tuple(with_fact(s, echo) if s.strategy_id == echo.strategy_id else s for s in state.strategies)
        return replace(state, strategies=strategies)
    if any(other.message_id == echo.message_id for other in state.early):
        return state
    early = sorted((*state.early, echo), key=lambda e: (e.at_ms, e.message_id))
    return replace(state, early=tuple(early))


def with_fact(strategy: OpenStrategy, echo: Echo) -> OpenStrategy:
    """The strategy with one more fact; what says nothing to its kind, or of a ghost, is passed over."""
    known = any(fact.message_id == echo.message_id for fact in strategy.facts)
    if known or strategy.ghost or meaning(strategy.kind, echo.name) is None:
        return strategy
    facts = sorted((*strategy.facts, echo), key=lambda f: (f.at_ms, f.message_id))
    return replace(strategy, facts=_bounded_facts(facts, echo.name))


def _bounded_facts(facts: list[Echo], name: str) -> tuple[Echo, ...]:
    """The first fact of a name and the latest ones say all that windows ask; amounts are added, not dropped."""
    same = [fact for fact in facts if fact.name == name]
    if len(same) <= MAX_SAME_FACTS:
        return tuple(facts)
    dropped, heir = same[1], same[2]
    both = replace(heir, amount_minor=heir.amount_minor + dropped.amount_minor)
    return tuple(both if fact is heir else fact for fact in facts if fact is not dropped)
