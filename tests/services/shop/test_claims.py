"""Of what the demo claims: each claim holds and fails by its own number."""

from datetime import UTC, datetime

import msgspec
import pytest

from services.shop.books import Evidence
from services.shop.claims import adapters_earn, claims
from services.shop.summary import AdaptersWorth, ArmReward, Summary, summarise
from services.shop.world import World
from streaming.contracts.adapters import Decided, GateDecision
from tests.services.shop.shop_samples import make_request, make_strategy

UP_MS = 1_000_000


def decision(name: str, what: Decided, version: str = "", reason: str = "value: worse") -> GateDecision:
    """On an adapter of the inbox, or on the version that it became."""
    named = version or f"inbox-{name}-adapter"
    return GateDecision("d-1", named, "adapter", what, reason, (), {}, datetime.now(UTC), "operator")


@pytest.fixture
def evidence(world: World) -> Evidence:
    """One strategy, ten seconds after the stack was up, and the spoiled adapters refused."""
    strategy = make_strategy(make_request(world, "ranking", next(iter(world.customers))))
    return Evidence(
        published=1,
        fates={"folded": 1},
        profiles=1,
        outbox=0,
        requests={strategy.request_id: (strategy.request, UP_MS + 9_000)},
        strategies={strategy.strategy_id: (strategy, UP_MS + 10_000)},
        conflicts=0,
        suppressions={},
        rewards={},
        decisions=[decision("corrupt", "refused"), decision("harmful", "refused")],
        stalls_ms=[],
    )


@pytest.fixture
def good(evidence: Evidence) -> Summary:
    """A summary that shows everything."""
    arms = {"fused": ArmReward(0.3, 0.2, 0.4, 900), "random": ArmReward(0.1, 0.0, 0.19, 300)}
    return msgspec.structs.replace(
        summarise(evidence, None), adapters_promoted=2, swaps=2, messages_by_model_share=0.9, reward_by_arm=arms
    )


def unheld(summary: Summary, evidence: Evidence) -> list[str]:
    """The claims that do not hold."""
    return [claim.text for claim in claims(summary, evidence, UP_MS) if not claim.held]


def test_a_good_demo_shows_all(good: Summary, evidence: Evidence) -> None:
    """Nothing is left unshown."""
    assert unheld(good, evidence) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"adapters_promoted": 1}, "1 adapters promoted"),
        ({"swaps": 1}, "1 swapped in"),
        ({"messages_by_model_share": 0.79}, "79%"),
        ({"reward_by_arm": {}}, "no closed rewards"),
    ],
)
def test_each_number_counts(good: Summary, evidence: Evidence, changes: dict[str, object], told: str) -> None:
    """A number below its bound is told, alone."""
    (text,) = unheld(msgspec.structs.replace(good, **changes), evidence)
    assert told in text


def test_touching_intervals_show_nothing(good: Summary, evidence: Evidence) -> None:
    """The served arm's lower end must lie above the random arm's upper end."""
    arms = good.reward_by_arm | {"random": ArmReward(0.1, 0.0, 0.2, 300)}
    (text,) = unheld(msgspec.structs.replace(good, reward_by_arm=arms), evidence)
    assert "+0.200 to +0.400" in text


def test_a_late_or_missing_first_strategy_is_told(good: Summary, evidence: Evidence) -> None:
    """A minute after the stack was up is the latest."""
    (strategy_id,) = evidence.strategies
    late = {strategy_id: (evidence.strategies[strategy_id][0], UP_MS + 60_001)}
    assert "60.0 s" in unheld(good, msgspec.structs.replace(evidence, strategies=late))[0]
    assert unheld(good, msgspec.structs.replace(evidence, strategies={})) == ["no strategy came"]


def test_the_corrupt_adapter_must_be_refused(good: Summary, evidence: Evidence) -> None:
    """Never judged, or promoted, is told."""
    harmful = evidence.decisions[1]
    assert "never judged" in unheld(good, msgspec.structs.replace(evidence, decisions=[harmful]))[0]
    promoted = msgspec.structs.replace(evidence.decisions[0], decision="promoted")
    assert unheld(good, msgspec.structs.replace(evidence, decisions=[promoted, harmful]))


@pytest.mark.parametrize(
    ("after", "held", "told"),
    [
        ([], True, "refused by the gate (value: worse)"),
        (["on_trial"], False, "still on trial"),
        (["on_trial", "rolled_back"], True, "rolled back on trial (worse: shown)"),
        (["on_trial", "promoted"], False, "was promoted"),
        (["on_trial", "timed_out"], False, "without proof"),
    ],
)
def test_the_harmful_adapter_must_be_kept_out(
    good: Summary, evidence: Evidence, after: list[Decided], told: str, *, held: bool
) -> None:
    """By the gate or by its trial; one that is still on trial was not shown to be kept out, and the claim says so."""
    found = [decision("harmful", "refused")]
    if after:
        reasons = ["inbox-harmful-adapter: every check passed", "worse: shown"]
        found = [decision("", what, "adapter-000009-a", reason) for what, reason in zip(after, reasons, strict=False)]
    seen = msgspec.structs.replace(evidence, decisions=[evidence.decisions[0], *found])
    (claim,) = (claim for claim in claims(good, seen, UP_MS) if "harmful" in claim.text)
    assert claim.held == held
    assert told in claim.text


@pytest.mark.parametrize(
    ("worth", "held"),
    [
        (None, False),
        (AdaptersWorth(0.4, 0.3, 0.1, 0.02, 0.18, 90), True),
        (AdaptersWorth(0.4, 0.35, 0.05, -0.01, 0.11, 90), False),
    ],
)
def test_a_long_demo_answers_for_its_adapters(worth: AdaptersWorth | None, held: bool) -> None:  # noqa: FBT001 -- a parameter
    """They must be worth something beyond chance; what could not be valued is not claimed. The words hold the numbers."""
    claim = adapters_earn(worth)
    assert claim.held == held
    assert worth is None or f"{worth.gain:+.3f}" in claim.text
