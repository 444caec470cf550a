"""Of tastes, hidden habits and answers."""

import pytest

from services.shop.answers import answer_of
from services.shop.oracle import baseline_of, expected_rewards, lift
from services.shop.source import Line, Product
from services.shop.tastes import estimate_tastes
from services.shop.world import World, load_world
from streaming.contracts.kinds import KIND_NAMES, Kind
from streaming.reward import Formula
from tests.services.shop.shop_samples import make_request

PRODUCTS = {
    "1": Product("1", "2", "GROCERY", "National", "COFFEE", "GROUND COFFEE", ""),
    "2": Product("2", "2", "GROCERY", "Private", "SOUP", "CONDENSED SOUP", ""),
}


def bought(household: str, product: str, times: int) -> list[Line]:
    """As many lines of one product."""
    return [Line(household, str(n), product, 1, 100, 100, 0, 0.0) for n in range(times)]


def test_tastes_follow_purchases_and_shrink() -> None:
    """Who buys coffee likes coffee, the more the more often; one line moves little."""
    lines = [*bought("a", "1", 40), *bought("b", "1", 4), *bought("c", "2", 40), *bought("d", "2", 4)]
    tastes = estimate_tastes(lines, PRODUCTS)
    assert tastes["a"].by_category["coffee"] > tastes["b"].by_category["coffee"] > 0
    assert tastes["a"].by_category["soup"] < 0
    assert tastes["c"].own_label > tastes["a"].own_label
    assert all(sum(taste.dayparts) == pytest.approx(1.0) for taste in tastes.values())


def test_worlds_repeat_by_seed(world: World) -> None:
    """The same seed gives the same customers, another seed others with the same tastes."""
    again = load_world(None, seed=7, households=40, days=3)
    other = load_world(None, seed=8, households=40, days=3)
    assert again.customers == world.customers
    user = next(iter(world.customers))
    assert other.customers[user].tone != world.customers[user].tone
    assert other.customers[user].taste == world.customers[user].taste


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_expected_rewards_agree_with_answers(world: World, kind: Kind) -> None:
    """The grid's expectation of one action equals the formula on that action's own probabilities."""
    user = next(iter(world.customers))
    request, formula = make_request(world, kind, user), Formula()
    grid = expected_rewards(world, request, formula)
    index = tuple(size - 1 for size in grid.shape)
    decision = {slot.name: slot.values[-1] for slot in request.slots}
    answer = answer_of(world.customers[user], world.shelf, request, decision)
    clicked, ordered = answer.seen * answer.clicked, answer.seen * answer.clicked * answer.ordered
    margin = ordered * float(formula.margin_grid(request)[index]) * answer.units
    left = answer.seen * answer.left
    cost = formula.cost_major(kind, decision) * (answer.seen if kind == "ad" else 1.0)
    expected = formula.total(
        clicked,
        ordered,
        margin,
        answer.refunded * margin,
        left,
        left * 0.15,
        cost,
        formula.offer_major(decision),
    )
    assert grid[index] == pytest.approx(expected)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_there_is_something_to_learn(world: World, kind: Kind) -> None:
    """The best action earns well above a random one, and lift puts them at 1 and 0."""
    base = baseline_of(world, make_request(world, kind, next(iter(world.customers))), Formula())
    assert base.oracle > 1.5 * base.random
    assert lift(base.oracle, base) == pytest.approx(1.0)
    assert lift(base.random, base) == pytest.approx(0.0)


def test_discount_and_taste_raise_orders(world: World) -> None:
    """More percent off never lowers a click; probabilities stay probabilities."""
    user = next(iter(world.customers))
    request = make_request(world, "promotion", user)
    decision = {slot.name: slot.values[0] for slot in request.slots}
    answers = [
        answer_of(world.customers[user], world.shelf, request, decision | {"discount": off})
        for off in ("0", "10", "30")
    ]
    assert answers[0].clicked < answers[1].clicked < answers[2].clicked
    assert all(0 <= p <= 1 for a in answers for p in (a.seen, a.clicked, a.ordered, a.refunded, a.left))
