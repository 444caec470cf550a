"""Asking: every rule that suppresses, the holdout, ids, and what a request says."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from model.grid import ActionGrid
from streaming.asking import Answer, ask
from streaming.candidates import LIMITS, why_not
from streaming.contracts.codec import decode, encode, to_ms
from streaming.contracts.events import Context
from streaming.contracts.ids import request_id
from streaming.contracts.kinds import GRAMMARS, KIND_NAMES, MAX_ACTIONS, MAX_CANDIDATES, OUTBOUND
from streaming.contracts.strategies import StrategyRequest
from streaming.reference import Reference, snapshot
from streaming.row import Row
from streaming.rules import DAY_MS, HOUR_MS, Rules
from streaming.triggers import Moment
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import NOON_MS, RULES, SHOP, decisions, row_of

NIGHT_MS = to_ms(datetime(2026, 3, 2, 23, 0, tzinfo=UTC))


def moment(
    kind: str = "recommendation", trigger: str = "session_start", at_ms: int = NOON_MS, **context: str
) -> Moment:
    """A moment of a kind."""
    return Moment(trigger, kind, "cause", at_ms, context)  # type: ignore[arg-type]


def asked(row: Row, what: Moment, reference: Reference = SHOP, rules: Rules = RULES) -> Answer:
    """The answer to a moment asked at once."""
    return ask(row, what, reference, what.at_ms, rules)


def reason(answer: Answer) -> str | None:
    """Why nothing was asked, or None."""
    return answer.suppression.reason if answer.suppression else None


CUSTOMER = row_of(shop.told(NOON_MS - DAY_MS, email=True, push=True, sms=True), shop.viewed(1, NOON_MS - HOUR_MS))


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_every_kind_is_asked_with_its_grammar(kind: str) -> None:
    """A request of each kind has its slots in order, decodes as a contract, and its id follows from its inputs."""
    answer = asked(CUSTOMER, moment(kind))
    request = answer.request
    assert request is not None
    assert answer.suppression is None
    assert tuple(slot.name for slot in request.slots) == GRAMMARS[kind].slots
    assert request.request_id == request_id("u1", "session_start", kind, "cause")
    assert decode(encode(request), StrategyRequest) == request
    assert 1 <= ActionGrid.of(request).count <= MAX_ACTIONS
    assert len(request.candidates) <= MAX_CANDIDATES


def test_caps_count_the_local_day() -> None:
    """Three a day; the fourth is suppressed until the customer's own midnight."""
    row = CUSTOMER
    for trigger in ("session_start", "price_drop", "category_interest"):
        answer = asked(row, moment(trigger=trigger, product="p1", price_minor="100"))
        assert answer.request is not None
        row = answer.row
    assert reason(asked(row, moment(trigger="decision_requested"))) == "daily_cap"
    assert reason(asked(row, moment(trigger="decision_requested", at_ms=NOON_MS + 12 * HOUR_MS))) is None
    tokyo = replace(
        row, profile=shop.folded(shop.viewed(1, context=Context(timezone="Asia/Tokyo")), profile=row.profile)
    )
    assert reason(asked(tokyo, moment(trigger="decision_requested", at_ms=NOON_MS + 3 * HOUR_MS))) is None


def test_a_trigger_cools_down() -> None:
    """The same trigger within its cooldown is suppressed, another is not."""
    row = asked(CUSTOMER, moment()).row
    assert reason(asked(row, moment(at_ms=NOON_MS + HOUR_MS))) == "cooldown"
    assert reason(asked(row, moment(at_ms=NOON_MS + 5 * HOUR_MS))) is None
    assert reason(asked(row, moment(trigger="decision_requested"))) is None


def test_stale_paused_and_erased_are_suppressed() -> None:
    """A moment more than an hour old, a paused system, an erased customer and a withheld personalization ask nothing."""
    assert reason(ask(CUSTOMER, moment(), SHOP, NOON_MS + HOUR_MS + 1, RULES)) == "stale"
    assert reason(ask(CUSTOMER, moment(), SHOP, NOON_MS, RULES, paused=True)) == "paused"
    assert reason(asked(replace(CUSTOMER, state="erased"), moment())) == "erased"
    assert reason(asked(row_of(shop.told(personalization=False)), moment())) == "no_consent"


def test_the_holdout_has_a_ghost() -> None:
    """The holdout's moment is suppressed, told with the request that would have been, and counts for the caps."""
    answer = asked(replace(CUSTOMER, arm="holdout"), moment())
    assert reason(answer) == "holdout"
    assert answer.request is not None
    assert answer.suppression is not None
    assert answer.request.request_id == answer.suppression.request_id
    assert answer.row.asked.issued_ms == (NOON_MS,)


def test_channels_need_consent() -> None:
    """Without consent only the site is left, and the request says why."""
    request = asked(row_of(shop.viewed(1)), moment()).request
    assert request is not None
    assert values(request, "channel") == ("onsite",)
    assert {(r.value, r.reason) for r in request.removed if r.slot == "channel"} == {
        (c, "no_consent") for c in OUTBOUND
    }


def test_who_is_away_and_gave_no_consent_cannot_be_reached() -> None:
    """A dormant customer without consent is suppressed; with consent the site is removed."""
    dormant = moment("promotion", "dormant_customer")
    assert reason(asked(row_of(shop.viewed(1)), dormant)) == "no_consent"
    request = asked(CUSTOMER, dormant).request
    assert request is not None
    assert "onsite" not in values(request, "channel")


def test_nights_are_quiet() -> None:
    """At night a promotion stays on the site, and a recommendation by message waits for a waking hour."""
    night = moment("promotion", at_ms=NIGHT_MS)
    promotion = asked(CUSTOMER, night).request
    assert promotion is not None
    assert values(promotion, "channel") == ("onsite",)
    recommendation = asked(CUSTOMER, moment(at_ms=NIGHT_MS)).request
    assert recommendation is not None
    outbound = {(d["channel"], d["send_time"]) for d in decisions(recommendation) if d["channel"] in OUTBOUND}
    assert {send_time for _, send_time in outbound} == {"morning", "afternoon", "evening"}
    assert reason(asked(CUSTOMER, moment("promotion", "dormant_customer", NIGHT_MS))) == "quiet_hours"


def test_send_times_in_quiet_hours_are_excluded() -> None:
    """Where quiet hours begin at 18, no message may be sent in the evening."""
    request = asked(CUSTOMER, moment(), rules=Rules(quiet_start_hour=18)).request
    assert request is not None
    assert {d["send_time"] for d in decisions(request) if d["channel"] in OUTBOUND} == {"now", "morning", "afternoon"}


def test_nothing_to_propose_is_told() -> None:
    """An empty shop, a campaign that is over, and an unknown category give `no_candidates`."""
    assert reason(asked(CUSTOMER, moment(), reference=Reference())) == "no_candidates"
    assert reason(asked(CUSTOMER, moment("ad", "campaign_start", campaign="gone"))) == "no_candidates"
    assert reason(asked(CUSTOMER, moment("ranking", "decision_requested", category="nowhere"))) == "no_candidates"


def test_a_session_without_ads_gets_a_recommendation() -> None:
    """Where a session's kind has no candidates, its second choice is asked, under that kind's id."""
    only_products = snapshot(SHOP.products.values())
    request = asked(CUSTOMER, replace(moment("ad"), instead="recommendation"), reference=only_products).request
    assert request is not None
    assert request.kind == "recommendation"


def test_what_may_not_be_sold_is_no_candidate() -> None:
    """Out of stock, another currency, below cost, not launched: none is proposed, each for its own reason."""
    bad = {
        "out_of_stock": shop.product(1, stock=0),
        "other_currency": shop.product(1, currency="EUR"),
        "margin_below_zero": shop.product(1, unit_cost_minor=99_999),
        "not_launched": shop.product(1, launched_at=datetime(2027, 1, 1, tzinfo=UTC)),
    }
    for why, product in bad.items():
        assert why_not(snapshot([product]).told(product), NOON_MS, "USD") == why
        answer = asked(CUSTOMER, moment(product="p1"), reference=SHOP.with_product("p1", product))
        assert answer.request is not None
        assert "p1" not in {candidate.id for candidate in answer.request.candidates}
        assert ("p1", why) in {(gone.value, gone.reason) for gone in answer.request.removed}


def test_candidates_come_from_what_the_moment_is_about() -> None:
    """The cart, the search's results, the category and the campaign's products are what is proposed."""
    row = row_of(
        shop.told(email=True), shop.about("Product Added", 9, NOON_MS), shop.about("Product Added", 14, NOON_MS + 1)
    )
    assert {"p9", "p14"} <= ids(asked(row, moment("promotion", "cart_abandoned")))
    assert any(
        f"p{n}" in ids(asked(row, moment("recommendation", "search_without_click", query="lamps")))
        for n in range(2, 40, 4)
    )
    ranking = asked(row, moment("ranking", "category_interest", category="tea")).request
    assert ranking is not None
    assert values(ranking, "category") == ("tea",)
    assert all(candidate.category[1] == "tea" for candidate in ranking.candidates)
    offered = ids(asked(row, moment("promotion", "campaign_start", campaign="c3")))
    assert offered
    assert offered <= {"p1", "p2", "p3", "p5"}


def test_a_promotion_may_be_of_a_whole_category() -> None:
    """The category of most products is a candidate, bounded by its thinnest product, and never delivered for free."""
    thin = SHOP.with_product("p4", shop.product(4, price_minor=1000, unit_cost_minor=930))
    row = row_of(shop.viewed(0), shop.viewed(4), shop.viewed(8))
    request = asked(row, moment("promotion", "decision_requested", category="coffee"), thin).request
    assert request is not None
    (category,) = (candidate for candidate in request.candidates if candidate.what == "category")
    assert (category.id, category.max_discount_pct) == ("coffee", 7)
    said = [d for d in decisions(request) if d["product"] == "coffee"]
    assert {d["offer_type"] for d in said} == {"percent_off", "bundle"}
    assert {d["discount"] for d in said if d["offer_type"] == "percent_off"} == {"5"}


def test_a_category_sold_below_cost_is_not_promoted() -> None:
    """One product that costs more than it brings keeps its category out; so does a campaign of named products."""
    dear = SHOP.with_product("p4", shop.product(4, price_minor=100, unit_cost_minor=130))
    for reference, what in (
        (dear, moment("promotion", "decision_requested", category="coffee")),
        (SHOP, moment("promotion", "campaign_start", campaign="c3")),
    ):
        request = asked(CUSTOMER, what, reference).request
        assert request is not None
        assert {candidate.what for candidate in request.candidates} == {"product"}


def test_exploration_brings_in_the_unknown() -> None:
    """Over many moments nearly the whole assortment is proposed, a narrow customer's included."""
    seen: set[str] = set()
    for at in range(120):
        seen |= ids(asked(CUSTOMER, replace(moment(), cause=f"m{at}")))
    assert len(seen) > 35


def test_a_place_in_the_list_says_nothing() -> None:
    """The product a moment is about takes every place equally: candidates are ordered by a stable hash."""
    places = []
    for at in range(200):
        request = asked(CUSTOMER, replace(moment(product="p1", price_minor="1"), cause=f"m{at}")).request
        assert request is not None
        places.append([candidate.id for candidate in request.candidates].index("p1"))
    assert set(places) == set(range(LIMITS["recommendation"]))


def test_the_same_moment_asks_the_same() -> None:
    """A repeated moment gives the same bytes."""
    assert encode(asked(CUSTOMER, moment()).request) == encode(asked(CUSTOMER, moment()).request)


def test_texts_are_short() -> None:
    """No candidate's text exceeds 80 characters, and Chinese readers get Chinese attributes."""
    row = replace(
        CUSTOMER, profile=shop.folded(shop.viewed(2, context=Context(locale="zh-CN")), profile=CUSTOMER.profile)
    )
    request = asked(row, moment()).request
    assert request is not None
    assert request.language == "zh"
    assert all(0 < len(candidate.text) <= 80 and "咖啡" in candidate.text for candidate in request.candidates)


def values(request: StrategyRequest, slot: str) -> tuple[str, ...]:
    """Allowed values of a slot."""
    return next(s.values for s in request.slots if s.name == slot)


def ids(answer: Answer) -> set[str]:
    """Candidate ids of a request."""
    assert answer.request is not None
    return {candidate.id for candidate in answer.request.candidates}


def test_requests_say_nothing_personal() -> None:
    """Neither time zone, alias nor e-mail id of the row reaches a request."""
    row = row_of(
        shop.viewed(1, context=Context(timezone="Asia/Tokyo")), shop.mail("Email Delivered", "secret-mail"),
        shop.identify("secret-anon"),
    )  # fmt: skip
    sent = encode(asked(row, moment()).request)
    assert not [word for word in (b"Tokyo", b"secret") if word in sent]
