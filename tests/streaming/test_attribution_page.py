"""The page for the finance department says what the code does: its example is computed, its settings exist."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import fields, replace

from services.settings import AgentsSettings
from streaming.contracts.codec import decode_event, to_ms
from streaming.contracts.events import Event
from streaming.contracts.rewards import CurrencyMoney, Reward
from streaming.contracts.strategies import Strategy
from streaming.open_state import Model, Unbooked
from streaming.reward import Formula
from tests.streaming.attribution_player import Played
from tests.streaming.attribution_samples import START_MS, WINDOWS, strategy

PAGE = (Path(__file__).parents[2] / "docs" / "attribution.md").read_text(encoding="utf-8")
ISSUED = datetime(2026, 3, 2, 9, tzinfo=UTC)
END_H = (datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1000 - START_MS) / 3_600_000


def events() -> list[Event]:
    """The example's events, as the page prints them."""
    [block] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    found = [decode_event(line.encode(), to_ms(ISSUED) + 10**10) for line in block.splitlines()]
    return [event for event in found if isinstance(event, Event)]


def example_strategies() -> tuple[Strategy, ...]:
    """`A` and `B` of the example."""
    made = (strategy(1), strategy(2, "promotion", offer_type="percent_off"))
    return tuple(
        replace(
            s,
            strategy_id=name,
            issued_at=ISSUED,
            valid_until=ISSUED.replace(day=4),
            request=replace(s.request, issued_at=ISSUED),
        )
        for s, name in zip(made, "AB", strict=True)
    )


def played(model: Model) -> Played:
    """The example, each event read when its time has come."""
    player = Played(replace(WINDOWS, model=model))
    player.feed(*example_strategies())
    for event in events():
        player.until((event.at_ms - START_MS) / 3_600_000)
        player.feed(event)
    player.until(END_H)
    return player


def rows(model: Model, rewards: list[Reward]) -> Iterator[str]:
    """The example's table, line by line."""
    told = [reward for reward in rewards if reward.stage != "response"]
    for reward in sorted(told, key=lambda r: r.strategy_id):
        what = reward.outcomes
        euros = next((o for o in what.other_currencies if o.currency == "EUR"), CurrencyMoney("EUR"))
        cells = (what.revenue_minor, what.margin_minor, what.refunded_minor, what.refunded_margin_minor)
        money = " | ".join(str(cell) for cell in (*cells, euros.revenue_minor, euros.refunded_minor))
        cause = f"`{reward.cause}`" if reward.cause else ""
        yield f"| `{model}` | `{reward.strategy_id}` | {reward.stage} | {cause} | {money} | {reward.reward:.3f} |"


@pytest.mark.parametrize("model", get_args(Model))
def test_the_example_is_what_comes_out(model: Model) -> None:
    """Every line of the table of a model, and no other."""
    printed = [line for line in PAGE.splitlines() if line.startswith(f"| `{model}` | `")]
    assert printed == list(rows(model, played(model).rewards))


def test_what_the_example_cannot_book_is_told() -> None:
    """The last refund comes after thirty days."""
    last = events()[-1]
    assert played("linear").unbooked == [Unbooked("settled_order", "o1", "m8", "Order Refunded", last.at_ms)]


def test_the_settings_and_components_that_it_names_exist() -> None:
    """Each word in capitals is a setting of the agents, each component one of the formula, and all are named."""
    known = {field.name.upper() for field in fields(AgentsSettings)}
    named = set(re.findall(r"`-?([A-Z]+(?:_[A-Z]+)+)\*?`", PAGE)) - {"COST_BID_"}
    assert named <= known
    assert {name for name in known if name.startswith("REWARD_")} <= named
    assert {"CLICK_THROUGH_H", "VIEW_THROUGH_H", "WINDOWS_BY_KIND", "ATTRIBUTION_MODEL"} <= named
    table = PAGE.partition("| component | is |")[2].partition("\n\n")[0]
    parts = Formula().components(1, 1, 1, 1, 1, 1, 1)
    assert set(re.findall(r"`([a-z]+)`", table)) == set(parts)
