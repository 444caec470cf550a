"""What a step of attribution says to the outside: rewards, and letters about outcomes that no reward can hold. Pure."""

from msgspec import Raw, Struct
from msgspec.structs import replace

from streaming.attribution_outcomes import repeating
from streaming.contracts.codec import instant
from streaming.contracts.rewards import Reward
from streaming.contracts.topics import REWARDS
from streaming.contracts.tracing import headers_of
from streaming.dead_letters import without_record
from streaming.effects import Fact, Publish
from streaming.open_state import DAY_MS, HOUR_MS, Step, Unbooked, UnknownStrategy, Windows

UNKNOWN = "unknown_strategy"


class Told(Struct, frozen=True):
    """Messages in order, and facts to count."""

    effects: tuple[Publish, ...] = ()
    facts: tuple[Fact, ...] = ()


def told(step: Step | None, user_id: str, windows: Windows, *, mixed_arms: bool = False) -> Told:
    """Rewards keyed by strategy; a letter for each event whose strategy never came, or whose money cannot be booked.

    Such an event was folded and counted when it was read: its letter is no second fate of it.

    Args:
        mixed_arms: the customer was merged from two arms, which every reward of theirs says.
    """
    if step is None:
        return Told()
    closed = [replace(reward, mixed_arms=True) for reward in step.rewards] if mixed_arms else step.rewards
    rewards = [_published(reward, step.subjects[reward.strategy_id]) for reward in closed]
    letters = [_letter(each, user_id, windows) for each in step.unknown]
    facts = [Fact("unknown_strategies"), Fact("dead_letters", {"reason": UNKNOWN})] * len(letters)
    for each in step.unbooked:
        letters.append(_unbooked_letter(each, user_id, windows))
        facts += [Fact("unbooked_outcomes", {"reason": each.reason}), Fact("dead_letters", {"reason": each.reason})]
    if step.unmatched:
        facts.append(Fact("unmatched_reversals", value=float(step.unmatched)))
    return Told((*rewards, *letters), tuple(facts))


def _published(reward: Reward, subject: Raw) -> Publish:
    key = reward.strategy_id.encode("utf-8", "surrogatepass")
    headers = headers_of(reward.request, reward.reward_id)
    return Publish(REWARDS.name, key, repeating(reward, subject), reward.reward_id, headers)


def _letter(unknown: UnknownStrategy, user_id: str, windows: Windows) -> Publish:
    return without_record(
        user_id=user_id,
        about=_envelope(unknown, user_id, {"strategy_id": unknown.strategy_id}),
        reason=UNKNOWN,
        at_ms=unknown.at_ms,
        field="properties.strategy_id",
        found=unknown.strategy_id,
        wanted=f"a strategy of this customer that is remembered, or read within {windows.early_ms / HOUR_MS:g} h",
    )


def _unbooked_letter(unbooked: Unbooked, user_id: str, windows: Windows) -> Publish:
    """What a finance department has to book by hand: which order, and why no reward holds it."""
    field, found, wanted = "properties.order_id", unbooked.order_id, ""
    match unbooked.reason:
        case "settled_order":
            wanted = f"an order whose strategy closed less than {windows.refund_ms / DAY_MS:g} days ago"
        case "refund_currency":
            field, found = "properties.currency", unbooked.currency
            wanted = f"{unbooked.wanted_currency}, the currency of order {unbooked.order_id}"
        case "late_order":
            field, found = "timestamp", instant(unbooked.at_ms).isoformat()
            wanted = (
                f"an order read within {windows.late_ms / HOUR_MS:g} h, while strategies of its time are remembered"
            )
        case "too_many_orders":
            wanted = f"at most {windows.max_orders} orders of a customer within open windows"
    return without_record(
        user_id=user_id,
        about=_envelope(unbooked, user_id, {"order_id": unbooked.order_id}),
        reason=unbooked.reason,
        at_ms=unbooked.at_ms,
        field=field,
        found=found,
        wanted=wanted,
    )


def _envelope(event: UnknownStrategy | Unbooked, user_id: str, properties: dict[str, str]) -> dict[str, object]:
    """The event's bytes are gone by now, so its envelope is said again."""
    return {
        "messageId": event.message_id,
        "type": "track",
        "event": event.name,
        "userId": user_id,
        "timestamp": instant(event.at_ms),
        "properties": properties,
    }
