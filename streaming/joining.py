"""Two customers who turned out to be one: rows, open strategies and what is said of it, joined. Pure.

The steps of `identity.py` for all that is kept of a customer; `merging.py` carries them out across buckets.
"""

from msgspec.structs import replace

from streaming import attribution, identity
from streaming.closing import told
from streaming.contracts.codec import instant
from streaming.core import Context, Result, State
from streaming.dead_letters import without_record
from streaming.effects import Fact, Merge
from streaming.open_state import OpenState
from streaming.row import Claim

CONFLICT = "identity_conflict"


def claim_of(merge: Merge) -> Claim:
    """What the identifying message claims with."""
    return Claim(merge.at_ms, merge.message_id)


def joined(user: State, alias: State, context: Context) -> Result:
    """The user's state with a frozen alias's in it; nothing is said or changed where that was done before."""
    if alias.row.user_id in user.row.merged:
        return Result(user, "folded")
    row = identity.absorb(user.row, alias.row, context.rules)
    if row.erased:
        return Result(replace(user, row=row), "folded")
    cause = (alias.row.claim or Claim()).message_id or f"merge of {alias.row.user_id}"
    step = attribution.on_merge(user.open, alias.open, cause, context.windows)
    closed = told(step, row.user_id, context.windows, mixed_arms=row.mixed_arms)
    return Result(State(row, step.state), "folded", closed.effects, closed.facts)


def pointed(alias: State) -> State:
    """What is left of a merged alias."""
    return State(identity.point(alias.row), OpenState())


def refused(user: State, merge: Merge, holder: str) -> Result:
    """A claim on an id that is another customer's already: remembered in the row, and told once, by a letter.

    The first claim that is applied holds. It has moved a profile and published rewards, so a claim that is read later
    cannot undo it, whichever of the two was made earlier.

    Args:
        holder: whose the id is.
    """
    if merge.alias in user.row.conflicts or user.row.erased:
        return Result(user, "folded")
    row = replace(user.row, conflicts=identity.joined_conflicts(user.row.conflicts, (merge.alias,)))
    about = {
        "messageId": merge.message_id,
        "type": "identify",
        "userId": user.row.user_id,
        "anonymousId": merge.alias,
        "timestamp": instant(merge.at_ms),
    }
    letter = without_record(
        user_id=user.row.user_id,
        about=about,
        reason=CONFLICT,
        at_ms=merge.at_ms,
        field="anonymousId",
        found=merge.alias,
        wanted=f"an id that is nobody else's: it was merged into {holder} before",
    )
    facts = (Fact("identity_conflicts"), Fact("dead_letters", {"reason": CONFLICT}))
    return Result(replace(user, row=row), "folded", (letter,), facts)
