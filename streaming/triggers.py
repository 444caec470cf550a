"""When to ask: moments made by events, by silence, by prices and by campaigns. Pure.

Timers of silence are a function of the profile and of what has fired, so that any order of events sets the same ones.
"""

from operator import attrgetter

from msgspec import Struct
from msgspec.structs import replace

from streaming import behaviour as read
from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import instant, to_ms
from streaming.contracts.events import DecisionProperties, Event, ProductProperties
from streaming.contracts.ids import stable_unit
from streaming.contracts.kinds import Kind
from streaming.contracts.strategies import Trigger
from streaming.features import features
from streaming.local_time import after_quiet
from streaming.profile import ACTIVE
from streaming.profile_parts import Session, View
from streaming.row import Due, Row
from streaming.rules import Rules
from streaming.sessions import current
from streaming.stamps import BEGINNING

SILENCES: frozenset[str] = frozenset({"cart_abandoned", "search_without_click", "dormant_customer"})
"""Timers that follow from the profile; the others are kept in the row until they fire."""
NO_VIEW = View(BEGINNING, "")
LOOKS = frozenset({"Product Viewed", "Product Clicked"})
"""Events that are a look at one product."""
_order = attrgetter("at_ms", "trigger", "cause")
MAX_CAMPAIGNS = 32
"""Campaign starts remembered per customer."""
SESSION_KINDS: tuple[tuple[float, Kind], ...] = (
    (0.40, "recommendation"),
    (0.65, "ranking"),
    (0.85, "ad"),
    (1.0, "promotion"),
)
"""Upper end of a stable hash → what a session starts with: every kind is often asked for."""


class Moment(Struct, frozen=True, gc=False):
    """A time at which a strategy may be worth asking for.

    Args:
        cause: the causing messageId, the due time of a timer, or what else makes it one moment and no other.
        at_ms: event time.
        context: what it is about: `product`, `category`, `query`, `campaign`, `price_minor`.
        instead: the kind that is asked where the first has no candidates.
    """

    trigger: Trigger
    kind: Kind
    cause: str
    at_ms: int
    context: dict[str, str] = {}
    instead: Kind | None = None


def on_event(before: Row, after: Row, event: Event, rules: Rules) -> list[Moment]:
    """The moments an event makes; whether one is stale is decided where it is asked, once for all triggers.

    Args:
        before: the row before the event's fold.
        after: the row after it.
    """
    name = event.name
    if name == "Decision Requested":
        return _requested(event)
    # most events change a session that is under way
    starts = name in ACTIVE and after.profile.sessions[-1].start_ms == event.at_ms
    moments = _session_start(before, after, event) if starts else []
    if name in LOOKS:
        moments += _interest(before, after, event, rules)
    return moments


def on_due(row: Row, due: Due, now_ms: int, rules: Rules) -> tuple[Row, tuple[Moment, ...]]:
    """The row without a timer, and the moments it makes; none where the row no longer has it, not yet, or is merged."""
    if due not in row.due or due.at_ms > now_ms or row.state == "frozen":
        return row, ()
    kind, instead = _kind_of(due)
    moment = Moment(due.trigger, kind, due.cause, due.at_ms, due.context, instead)
    return with_timers(without(row, due), rules), (moment,)


def without(row: Row, due: Due) -> Row:
    """The row without a timer, which counts as fired: a silence that it stood for does not set it again."""
    fired_ms = max(due.at_ms, row.asked.fired.get(due.trigger, 0))
    asked = replace(row.asked, fired=row.asked.fired | {due.trigger: fired_ms})
    return replace(row, asked=asked, due=tuple(other for other in row.due if other != due))


def on_price_drop(row: Row, product: Product, now_ms: int, rules: Rules) -> tuple[Moment, ...]:
    """The moment of a catalog price below the one the customer remembers of a wished or carted product."""
    known = read.watched_prices(row.profile).get(product.product_id)
    if known is None or known[1] != product.currency or product.stock == 0:
        return ()
    told = row.asked.price_minor.get(product.product_id, known[0])
    if product.price_minor > min(known[0], told) * (100 - rules.price_drop_pct) / 100:
        return ()
    context = {"product": product.product_id, "price_minor": str(product.price_minor)}
    cause = f"{product.product_id}@{product.price_minor}"
    return (Moment("price_drop", "recommendation", cause, now_ms, context),)


def watched(row: Row) -> tuple[str, ...]:
    """Products whose price the row waits for: what the index product → customers holds of it."""
    return tuple(sorted(read.watched_prices(row.profile))) if row.state == "live" else ()


def with_campaign(row: Row, campaign: Campaign, rank: int, now_ms: int, rules: Rules) -> Row:
    """The row with a timer for a campaign's start, if the campaign is meant for it.

    Args:
        rank: place of the customer in the fan-out, 0 first: `campaign_rate_per_s` are reached each second.
    """
    start_ms = to_ms(campaign.starts_at)
    cause = f"{campaign.campaign_id}@{instant(start_ms).isoformat()}"
    if cause in row.asked.campaigns or row.state != "live" or not in_audience(row, campaign, max(now_ms, start_ms)):
        return row
    at_ms = max(start_ms, now_ms) + round(1000 * rank / rules.campaign_rate_per_s)
    if at_ms >= to_ms(campaign.ends_at):
        return row
    context = {"campaign": campaign.campaign_id, "campaign_kind": campaign.kind}
    due = tuple(sorted((*row.due, Due(at_ms, "campaign_start", cause, context)), key=_order))
    return replace(row, due=due, asked=replace(row.asked, campaigns=(*row.asked.campaigns, cause)[-MAX_CAMPAIGNS:]))


def in_audience(row: Row, campaign: Campaign, at_ms: int) -> bool:
    """Whether a campaign is meant for a customer: everybody, named users, or `segment:VALUE` of `Features.categories`."""
    if not campaign.audience or row.user_id in campaign.audience:
        return True
    wanted = {name.removeprefix("segment:") for name in campaign.audience if name.startswith("segment:")}
    return bool(wanted) and not wanted.isdisjoint(segments(row, at_ms))


def segments(row: Row, at_ms: int) -> frozenset[str]:
    """Segments of a customer at a time: `lapsing` and `lifecycle=lapsing` alike, for every category."""
    categories = features(row.profile, row.asked, at_ms).categories
    return frozenset(categories.values()) | {f"{name}={value}" for name, value in categories.items()}


def with_timers(row: Row, rules: Rules) -> Row:
    """The row with the timers its profile and memory imply."""
    timers = [due for due in row.due if due.trigger not in SILENCES]
    timers += _silences(row, rules)
    if len(timers) > 1:
        timers.sort(key=_order)
    due = tuple(timers) if row.state == "live" else ()
    return row if due == row.due else replace(row, due=due)


def _silences(row: Row, rules: Rules) -> list[Due]:
    profile, fired, timers = row.profile, row.asked.fired, []
    known = {due.trigger: due for due in row.due}
    cart_ms = read.cart_changed_ms(profile)
    if cart_ms is not None:
        at_ms = max(cart_ms, read.open_checkout_ms(profile) or 0) + rules.cart_abandoned_after_ms
        timers.append(_silence(known, "cart_abandoned", at_ms, {}))
    if profile.searches and not read.clicked_after(profile, profile.searches[-1]):
        search = profile.searches[-1]
        at_ms = search.stamp.at_ms + rules.search_wait_ms
        timers.append(_silence(known, "search_without_click", at_ms, {"query": search.query}))
    last_ms = read.last_activity_ms(profile) or 0
    if last_ms:
        at_ms = after_quiet(profile, last_ms + rules.dormant_after_ms, rules)
        timers.append(_silence(known, "dormant_customer", at_ms, {}))
    return [due for due in timers if due.at_ms > fired.get(due.trigger, 0)] if fired else timers


def _silence(known: dict[Trigger, Due], trigger: Trigger, at_ms: int, context: dict[str, str]) -> Due:
    """The timer that the row has already, or another one: most events change none but the last."""
    due = known.get(trigger)
    if due is not None and due.at_ms == at_ms and due.context == context:
        return due
    return Due(at_ms, trigger, instant(at_ms).isoformat(), context)


def _kind_of(due: Due) -> tuple[Kind, Kind | None]:
    if due.trigger == "search_without_click":
        return "ranking", "recommendation"
    if due.trigger == "campaign_start" and due.context.get("campaign_kind") == "ad":
        return "ad", None
    return "promotion", None


def _session_start(before: Row, after: Row, event: Event) -> list[Moment]:
    """The first event of a session later than all others: a late event starts nothing."""
    last_ms = read.last_activity_ms(before.profile)
    if last_ms is not None and last_ms >= event.at_ms:
        return []
    draw = stable_unit("session kind", after.user_id, event.message_id)
    kind = next(kind for upper, kind in SESSION_KINDS if draw < upper)
    return [Moment("session_start", kind, event.message_id, event.at_ms, {}, "recommendation")]


def _interest(before: Row, after: Row, event: Event, rules: Rules) -> list[Moment]:
    """The n-th product of one category looked at in one session."""
    assert isinstance(event.properties, ProductProperties)
    product_id = event.properties.product_id
    session, views = current(after.profile.sessions, event.at_ms), after.profile.views
    latest = views[-1]
    if latest.product_id != product_id:  # the event is late
        latest = next((view for view in reversed(views) if view.product_id == product_id), NO_VIEW)
    category = latest.category
    if session is None or not category:
        return []
    wanted = rules.interest_views
    if _looked_at(after, category, session, wanted) != wanted:  # one event adds at most one: more was told before
        return []
    if _looked_at(before, category, session, wanted) == wanted:
        return []
    return [
        Moment("category_interest", "ranking", event.message_id, event.at_ms, {"category": category}, "recommendation")
    ]


def _looked_at(row: Row, category: str, session: Session, wanted: int) -> int:
    """Products of a category looked at within a session, counted to one more than is wanted."""
    start_ms, end_ms = session.start_ms, session.end_ms
    found = set()
    for view in reversed(row.profile.views):  # newest first: those before the session need no look
        at_ms = view.stamp.at_ms
        if at_ms < start_ms:
            break
        if view.category == category and at_ms <= end_ms:
            found.add(view.product_id)
            if len(found) > wanted:
                break
    return len(found)


def _requested(event: Event) -> list[Moment]:
    said = event.properties
    assert isinstance(said, DecisionProperties)
    context = {key: value for key, value in (("category", said.category), ("query", said.query)) if value}
    return [Moment("decision_requested", said.kind, event.message_id, event.at_ms, context)]
