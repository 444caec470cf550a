"""Kinds of strategy: each a small grammar of slots in a fixed order. Four ship; others are declared as data.

Shown and success events say which event of the shop, echoing which id, counts for a kind.
"""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from streaming.contracts.errors import BadPart

Kind = Literal["recommendation", "ad", "ranking", "promotion"]
"""The kinds that ship: these alone the agents ask for. Where any kind may stand, the type is `str`."""
Arm = Literal["fused", "lm", "critic", "random", "holdout"]
Channel = Literal["onsite", "email", "push", "sms"]

KIND_NAMES: tuple[Kind, ...] = ("recommendation", "ad", "ranking", "promotion")
ARM_NAMES: tuple[Arm, ...] = ("fused", "lm", "critic", "random", "holdout")
CHANNELS: tuple[Channel, ...] = ("onsite", "email", "push", "sms")
OUTBOUND: frozenset[str] = frozenset({"email", "push", "sms"})
"""Channels that need the customer's consent and respect quiet hours."""

SEND_TIMES = ("now", "morning", "afternoon", "evening")
"""`now`, or the next 09:00, 14:00 or 19:00 of the customer's time zone."""
SEND_HOUR: dict[str, int] = {"morning": 9, "afternoon": 14, "evening": 19}
TONES = ("friendly", "urgent", "premium", "playful")
PLACEMENTS = ("home", "search", "category", "checkout")
BID_TIERS = ("low", "medium", "high")
EMPHASES = ("relevance", "price", "popularity", "novelty", "margin")
OFFER_TYPES = ("percent_off", "free_shipping", "bundle")
DISCOUNT_LEVELS = ("0", "5", "10", "15", "20", "30")
"""Percent off, as text: a slot's values are strings on the wire."""
DURATIONS = ("1d", "3d", "7d")

MAX_ACTIONS = 4096
"""A request's frozen candidates allow at most this many actions, so that sums over completions are exact."""
MAX_CANDIDATES = 12


MAX_SLOTS = 16
MAX_VALUE_CHARS = 80
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""What a kind or a slot may be called: its name is written into prompts."""
MEANINGS: dict[str, tuple[re.Pattern[str], str]] = {
    "send_time": (re.compile("|".join(SEND_TIMES)), f"one of {', '.join(SEND_TIMES)}"),
    "duration": (re.compile(r"[1-9]\d{0,2}d"), "a number of days, e.g. 3d"),
    "discount": (re.compile(r"\d|[1-9]\d|100"), "whole percent off, e.g. 15"),
}
"""Slots that are read wherever they stand, by money or time, and what their values must look like therefore."""


ANSWERS = (
    "Product Viewed",
    "Product Clicked",
    "Product Added",
    "Product Removed",
    "Product Added to Wishlist",
    "Product List Viewed",
    "Promotion Viewed",
    "Promotion Clicked",
    "Email Delivered",
    "Email Opened",
    "Email Link Clicked",
)
"""Events that may echo a strategy and say nothing of money or consent: a kind chooses what shows and what answers it."""


class Template(msgspec.Struct, frozen=True):
    """A message's text in one language: `{slot}` stands for the chosen value, or for the chosen candidate's name."""

    title: str
    body: str


class Grammar(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a kind may say, and which events answer it.

    Args:
        slots: names in decoding order, at most `MAX_SLOTS`.
        candidate_slots: slots whose values are candidate ids (pointed at, not named).
        closed: values of every other slot, before rules.
        shown_event: event of `ads.events` or `shop.events` that opens the window.
        click_event: event that answers it; success is an attributed order.
        texts: language → the message's text. The kinds that ship have phrases instead; a kind without a text in a
            language names its values.

    Raises:
        BadPart: naming the field that contradicts the others.
    """

    slots: tuple[str, ...]
    candidate_slots: tuple[str, ...] = ()
    closed: dict[str, tuple[str, ...]] = {}
    shown_event: str = "Promotion Viewed"
    click_event: str = "Promotion Clicked"
    topic_of_shown: Literal["shop.events", "ads.events"] = "ads.events"
    texts: dict[Literal["en", "zh"], Template] = {}

    def __post_init__(self) -> None:
        """Refuse what could not be decoded or priced."""
        for problem in self._problems():
            raise problem

    def _problems(self) -> Iterator[BadPart]:
        if not 1 <= len(self.slots) <= MAX_SLOTS or len(set(self.slots)) != len(self.slots):
            yield BadPart("slots", self.slots, f"1 to {MAX_SLOTS} different names")
        yield from (BadPart("slots", s, f"a name like {NAME.pattern}") for s in self.slots if not NAME.fullmatch(s))
        closed = set(self.slots) - set(self.candidate_slots)
        if not set(self.candidate_slots) <= set(self.slots):
            yield BadPart("candidate_slots", self.candidate_slots, f"some of the slots {', '.join(self.slots)}")
        if set(self.closed) != closed:
            yield BadPart("closed", tuple(self.closed), f"the slots without candidates: {', '.join(sorted(closed))}")
        for slot, values in self.closed.items():
            if not values or len(set(values)) != len(values):
                yield BadPart(f"closed.{slot}", values, "at least one value, and none twice")
            yield from _bad_values(slot, values)
        for field in ("shown_event", "click_event"):
            if getattr(self, field) not in ANSWERS:
                yield BadPart(field, getattr(self, field), f"an event that echoes a strategy: {', '.join(ANSWERS)}")
        for language, text in self.texts.items():
            named = set(_BLANK.findall(text.title + text.body))
            if not text.title.strip() or not named <= set(self.slots):
                yield BadPart(f"texts.{language}", text, f"a title, and blanks of {', '.join(self.slots)} alone")


_BLANK = re.compile(r"\{(\w*)\}")


def _bad_values(slot: str, values: tuple[str, ...]) -> Iterator[BadPart]:
    pattern, wanted = MEANINGS.get(slot, (None, ""))
    for value in values:
        if not value.strip() or len(value) > MAX_VALUE_CHARS:
            yield BadPart(f"closed.{slot}", value, f"a visible text of at most {MAX_VALUE_CHARS} characters")
        elif pattern is not None and not pattern.fullmatch(value):
            yield BadPart(f"closed.{slot}", value, wanted)


GRAMMARS: dict[str, Grammar] = {
    "recommendation": Grammar(
        slots=("product", "channel", "send_time", "tone"),
        candidate_slots=("product",),
        closed={"channel": CHANNELS, "send_time": SEND_TIMES, "tone": TONES},
        shown_event="Promotion Viewed",
        click_event="Promotion Clicked",
        topic_of_shown="ads.events",
    ),
    "ad": Grammar(
        slots=("campaign", "placement", "bid_tier", "tone"),
        candidate_slots=("campaign",),
        closed={"placement": PLACEMENTS, "bid_tier": BID_TIERS, "tone": TONES},
        shown_event="Promotion Viewed",
        click_event="Promotion Clicked",
        topic_of_shown="ads.events",
    ),
    "ranking": Grammar(
        slots=("category", "emphasis", "pinned_product"),
        candidate_slots=("category", "pinned_product"),
        closed={"emphasis": EMPHASES},
        shown_event="Product List Viewed",
        click_event="Product Clicked",
        topic_of_shown="shop.events",
    ),
    "promotion": Grammar(
        slots=("product", "offer_type", "discount", "duration", "channel", "tone"),
        candidate_slots=("product",),
        closed={
            "offer_type": OFFER_TYPES,
            "discount": DISCOUNT_LEVELS,
            "duration": DURATIONS,
            "channel": CHANNELS,
            "tone": TONES,
        },
        shown_event="Promotion Viewed",
        click_event="Promotion Clicked",
        topic_of_shown="ads.events",
    ),
}


def check_kind(kind: str, grammar: Grammar | msgspec.UnsetType) -> None:
    """Refuse a name that no grammar explains, or one that two would.

    Raises:
        BadPart: naming the kind.
    """
    if grammar is msgspec.UNSET:
        if kind not in GRAMMARS:
            raise BadPart("kind", kind, f"one of {', '.join(KIND_NAMES)}, or a request with its kind's `grammar`")
    elif kind in GRAMMARS or not NAME.fullmatch(kind):
        raise BadPart("kind", kind, f"a name like {NAME.pattern} that no kind has that ships: {', '.join(KIND_NAMES)}")


def kind_label(kind: str) -> str:
    """The kind as a metric's label: whoever declares kinds cannot make labels without bound."""
    return kind if kind in GRAMMARS else "declared"
