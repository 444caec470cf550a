"""Trials from end to end: what is told in any order, and in two lives, decides alike; harms end a trial."""

import random
from collections.abc import Iterator

import msgspec
import pytest

from model.rollout import TrialKnobs
from model.trial import (
    COMPLAINTS,
    FALLBACKS,
    HELD_PER_CUSTOMER,
    LATE,
    Item,
    Role,
    Trial,
    TrialDesign,
    start,
    tell,
    treats,
)
from model.trial_judging import Verdict, judge

KNOBS = TrialKnobs(delta=0.1, min_customers=30, max_customers=3000, max_s=1e6)
CAPS = {COMPLAINTS: 0.05, FALLBACKS: 0.1, LATE: 0.1}
DESIGN = TrialDesign(KNOBS, -1.0, 3.0, 1000, 500, CAPS, answer_window_ms=200, answer_settle_ms=100)
LINE, ANCHOR, CANARY = "adapter-000009-aaaaaaaa", "adapter-000004-bbbbbbbb", "adapter-000008-cccccccc"


def nobody(customer: str) -> bool:
    """No other trial."""
    return not customer


def trial_of(role: Role, share: float = 0.5) -> Trial:
    """A trial that nothing was told."""
    return start(role, CANARY if role == "canary" else ANCHOR, f"salt-{role}", share, DESIGN)


def served(trial: Trial, customer: str) -> str:
    """The adapter a worker answers with."""
    return trial.version if treats(trial, customer) else LINE


def story(trial: Trial, customers: int, effect: float, harmed: float = 0.0, seed: int = 5) -> list[tuple[int, Item]]:
    """(event time of closing, end) of every strategy: three per customer, closed after 10 to 500 ms, later if it earned."""
    rng, found = random.Random(seed), []
    for number in range(customers):
        customer = f"u{number}"
        treated = treats(trial, customer)
        for visit in range(3):
            issued_ms = number * 20 + visit * 150
            paid = float(rng.random() < 0.2) + effect * treated / 3
            complaint = float(treated and rng.random() < harmed)
            closed_ms = issued_ms + (500 if paid >= 1.0 else rng.randrange(10, 400))
            item = Item(issued_ms, f"s{number}-{visit}", customer, served(trial, customer), (paid, complaint))
            found.append((closed_ms, item))
    return sorted(found)


def play(trial: Trial, told: Iterator[tuple[int, Item]] | list[tuple[int, Item]], every: int = 7) -> Verdict | None:
    """Tell all of it and judge now and then, until it is decided."""
    for number, (at_ms, item) in enumerate(told):
        tell(trial, trial.ends, item, at_ms)
        if number % every == 0 and (verdict := judge(trial, DESIGN, nobody)) is not None:
            return verdict
    return judge(trial, DESIGN, nobody)


@pytest.mark.parametrize(
    ("role", "effect", "decision"),
    [
        ("canary", 0.5, "promote"),
        ("canary", -0.5, "roll_back"),
        ("canary", 0.0, None),
        ("anchor", 0.6, "roll_back"),  # the anchor earns more: the line has lost
        ("anchor", -0.3, "renew"),
        ("anchor", 0.04, None),
    ],
)
def test_a_trial_ends_as_its_customers_say(role: Role, effect: float, decision: str | None) -> None:
    """Better, worse, equal: of a canary and of an anchor; with the numbers and every check."""
    trial = trial_of(role)
    verdict = play(trial, story(trial, 900, effect))
    assert (verdict and verdict.decision) == decision
    if verdict is not None:
        assert {check.name for check in verdict.checks} >= {"customers", "over", COMPLAINTS, FALLBACKS, LATE}
        assert verdict.numbers["customers_treated"] >= KNOBS.min_customers
        assert verdict.reason


def test_neither_order_nor_another_life_nor_how_often_is_asked_changes_a_decision() -> None:
    """Told as it closes, judged rarely, shuffled within what may be late, or cut by a restart: the same customers, the same numbers."""
    told = story(trial_of("canary"), 900, -0.5)
    found = [play(trial_of("canary"), told), play(trial_of("canary"), told, every=1)]
    rng = random.Random(1)
    late = sorted((item.issued_at_ms + rng.randrange(500), item) for _, item in told)
    found.append(play(trial_of("canary"), late))
    trial = trial_of("canary")
    assert play(trial, told[:120]) is None
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(trial), type=Trial)
    found.append(play(again, told[120:]))
    assert found[0] is not None
    assert all(verdict is not None for verdict in found)
    for verdict in found[1:]:
        assert verdict is not None
        assert (verdict.decision, verdict.reason) == (found[0].decision, found[0].reason)
        ours, theirs = verdict.numbers, found[0].numbers
        assert {k: v for k, v in ours.items() if k != "age_s"} == {k: v for k, v in theirs.items() if k != "age_s"}


def test_what_was_issued_before_the_arms_differ_is_no_evidence() -> None:
    """A canary begins with the first strategy it wrote, an anchor with the first that a newer step of its line wrote."""
    trial = trial_of("anchor")
    before = [(at_ms, msgspec.structs.replace(item, adapter=ANCHOR)) for at_ms, item in story(trial, 200, 0.9)]
    assert play(trial, before) is None
    assert trial.ends.begun_ms == -1
    assert trial.ends.ledgers[0].evidence.customers == 0
    assert not trial.ends.ledgers[0].cohort.open


def test_customers_of_another_trial_are_not_enrolled() -> None:
    """Whom the other trial treats counts in neither arm."""
    trial, other = trial_of("canary"), trial_of("anchor")
    for at_ms, item in story(trial, 300, 0.0):
        tell(trial, trial.ends, item, at_ms)
    assert judge(trial, DESIGN, lambda customer: treats(other, customer)) is None
    cohort = trial.ends.ledgers[0].cohort
    enrolled = cohort.closed | set(cohort.open)
    assert 100 < len(enrolled) < 200
    assert not any(treats(other, customer) for customer in enrolled)


def test_complaints_end_a_canary_that_earns_more() -> None:
    """The cap is on customers: whatever is earned, more complaints than it allows take the canary off."""
    trial = trial_of("canary")
    verdict = play(trial, story(trial, 900, 0.0, harmed=0.3))
    assert verdict is not None
    assert (verdict.decision, verdict.reason.split(":")[0]) == ("roll_back", COMPLAINTS)
    assert [check.passed for check in verdict.checks if check.name == COMPLAINTS] == [False]


@pytest.mark.parametrize(
    ("role", "treated_fails", "ends"),
    [("canary", True, True), ("canary", False, False), ("anchor", False, True), ("anchor", True, False)],
)
def test_fallbacks_and_late_answers_are_told_at_once(role: Role, ends: bool, treated_fails: bool) -> None:  # noqa: FBT001 -- a table's columns
    """The suspected version is the canary, or the line beside its anchor; the other's faults roll nothing back."""
    for place, name in enumerate((FALLBACKS, LATE)):
        trial, verdict = trial_of(role), None
        for number in range(400):
            customer = f"u{number}"
            fails = float(treats(trial, customer) == treated_fails)
            values = (fails, 0.0) if place == 0 else (0.0, fails)
            item = Item(number * 20, f"s{number}", customer, served(trial, customer), values)
            tell(trial, trial.answers, item, item.issued_at_ms)
            verdict = verdict or judge(trial, DESIGN, nobody)
        assert (verdict is not None) == ends
        if verdict is not None:
            assert (verdict.decision, verdict.reason.split(":")[0]) == ("roll_back", name)


def test_what_waits_is_bounded() -> None:
    """Where nothing settles, a trial ends rather than to grow or to forget some of its customers."""
    small = msgspec.structs.replace(DESIGN, knobs=msgspec.structs.replace(KNOBS, max_customers=60))
    trial = start("canary", CANARY, "salt", 0.5, small)
    for number in range(HELD_PER_CUSTOMER * 60 + 1):
        tell(trial, trial.ends, Item(1000, f"s{number}", f"u{number}", CANARY, (0.0, 0.0)), 1000)
    verdict = judge(trial, small, nobody)
    assert verdict is not None
    assert (verdict.decision, verdict.reason.split(":")[0]) == ("time_out", "held")


def test_time_is_up_without_customers_too() -> None:
    """A canary that no worker could load is shown to nobody, and its trial ends all the same."""
    trial = trial_of("canary")
    tell(trial, trial.ends, Item(0, "s", "u", LINE, (0.0, 0.0)), 0)
    assert judge(trial, DESIGN, nobody) is None
    tell(trial, trial.ends, Item(0, "t", "v", LINE, (0.0, 0.0)), 1_000_000_000)
    verdict = judge(trial, DESIGN, nobody)
    assert verdict is not None
    assert verdict.decision == "time_out"


def test_without_a_difference_few_trials_are_decided() -> None:
    """Customers come back, are looked at each time, and complain as often in both arms: neither promoted nor rolled back beyond alpha.

    No more complaints at all are allowed, so that the harm's own bound is at its limit. 40 trials; the bound is the
    99.9 % quantile of alpha for each of three ways to be wrong.
    """
    strict = msgspec.structs.replace(DESIGN, caps={**CAPS, COMPLAINTS: 0.0})
    ended = {"promote": 0, "roll_back": 0, COMPLAINTS: 0}
    for run in range(40):
        trial = start("canary", CANARY, f"salt-{run}", 0.5, strict)
        rng, generous = random.Random(run), random.Random(run + 1000)
        for number in range(250):
            paid, grumbles = generous.choice((0.0, 0.0, 0.5, 2.0)), generous.random() < 0.3
            for visit in range(3):
                values = (paid * (rng.random() < 0.5), float(grumbles and rng.random() < 0.5))
                customer, at_ms = f"u{number}", number * 20 + visit * 150
                tell(
                    trial,
                    trial.ends,
                    Item(at_ms, f"s{number}-{visit}", customer, served(trial, customer), values),
                    at_ms,
                )
            if (verdict := judge(trial, strict, nobody)) is not None:
                ended[COMPLAINTS if verdict.reason.startswith(COMPLAINTS) else verdict.decision] += 1
                break
        assert trial.ends.ledgers[0].evidence.customers > 20
    assert max(ended.values()) <= 8, ended


def test_a_lines_bets_begin_anew_and_a_changes_do_not() -> None:
    """A line may slide: every quantity beside its anchor is bet on from later customers too. A canary is what it is."""
    wanted: dict[Role, tuple[int, ...]] = {"anchor": (2000,), "canary": ()}
    for role, restarts in wanted.items():
        trial = trial_of(role)
        ledgers = trial.ends.ledgers + trial.answers.ledgers
        assert {each.evidence.design.restarts for each in ledgers} == {restarts}
