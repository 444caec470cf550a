"""What a step of attribution says to the outside: rewards, and letters about strategies that nobody knows. Pure."""

from msgspec import Struct
from msgspec.structs import replace

from streaming.contracts.codec import instant
from streaming.contracts.topics import REWARDS
from streaming.dead_letters import without_record
from streaming.effects import Fact, Publish, publish
from streaming.open_state import HOUR_MS, Step, UnknownStrategy, Windows

UNKNOWN = "unknown_strategy"


class Told(Struct, frozen=True):
    """Messages in order, and facts to count."""

    effects: tuple[Publish, ...] = ()
    facts: tuple[Fact, ...] = ()


def told(step: Step | None, user_id: str, windows: Windows, *, mixed_arms: bool = False) -> Told:
    """Rewards keyed by strategy; a letter for each event whose strategy never came.

    Such an event was folded and counted when it was read: its letter is no second fate of it.

    Args:
        mixed_arms: the customer was merged from two arms, which every reward of theirs says.
    """
    if step is None:
        return Told()
    closed = [replace(reward, mixed_arms=True) for reward in step.rewards] if mixed_arms else step.rewards
    rewards = [publish(REWARDS, reward.strategy_id, reward, reward.reward_id) for reward in closed]
    letters = [_letter(each, user_id, windows) for each in step.unknown]
    facts = [Fact("unknown_strategies"), Fact("dead_letters", {"reason": UNKNOWN})] * len(letters)
    return Told((*rewards, *letters), tuple(facts))


def _letter(unknown: UnknownStrategy, user_id: str, windows: Windows) -> Publish:
    """The event's bytes are gone by now, so its envelope is said again, with the id that nobody knows."""
    about = {
        "messageId": unknown.message_id,
        "type": "track",
        "event": unknown.name,
        "userId": user_id,
        "timestamp": instant(unknown.at_ms),
        "properties": {"strategy_id": unknown.strategy_id},
    }
    return without_record(
        user_id=user_id,
        about=about,
        reason=UNKNOWN,
        at_ms=unknown.at_ms,
        field="properties.strategy_id",
        found=unknown.strategy_id,
        wanted=f"a strategy of this customer that is remembered, or read within {windows.early_ms / HOUR_MS:g} h",
    )
