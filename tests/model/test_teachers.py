"""Teachers: their exact conditionals and their variety."""

import msgspec
import numpy as np
import pytest

from model.corpus import CUSTOMER, FAMILIES, Example, compose
from model.teachers import draw_teacher
from model.utility import conditionals, sharpen, utility
from streaming.contracts.kinds import KIND_NAMES, Kind


def test_conditionals_are_sums_over_completions() -> None:
    """By hand: softmax over 2 x 2 actions, first the marginal, then the conditional on the chosen row."""
    logits = np.log(np.array([[1.0, 2.0], [3.0, 4.0]]))
    first, second = conditionals(logits, (1, 0))
    assert first == pytest.approx([0.3, 0.7])
    assert second == pytest.approx([3 / 7, 4 / 7])


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_teachers_judge_every_action(kind: Kind) -> None:
    """A utility has one finite number per action, and two teachers rarely agree on the best."""
    rng = np.random.default_rng(0)
    examples = [compose(rng, kind) for _ in range(20)]
    best = []
    for index in range(2):
        teacher = draw_teacher(0, index)
        worths = [utility(teacher, example) for example in examples]
        for worth, example in zip(worths, examples, strict=True):
            assert worth.shape == tuple(len(slot.values) for slot in example.request.slots)
            assert np.isfinite(sharpen(worth)).all()
        best.append([int(worth.argmax()) for worth in worths])
    assert sum(a == b for a, b in zip(*best, strict=True)) < 10


def test_the_customer_changes_the_choice() -> None:
    """For the same candidates a teacher's best action differs between customers."""
    rng = np.random.default_rng(1)
    example, teacher = compose(rng, "recommendation"), draw_teacher(0, 2)
    best = set()
    for _ in range(20):
        other = compose(rng)
        best.add(int(utility(teacher, type(example)(example.request, example.attributes, other.customer)).argmax()))
    assert len(best) > 2


def test_attributes_are_within_their_families() -> None:
    """What is said of a candidate and a customer is always a value that exists."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        example = compose(rng)
        assert all(v < size for row in example.attributes for v, size in zip(row, FAMILIES.values(), strict=True))
        assert all(v < size for v, size in zip(example.customer, CUSTOMER.values(), strict=True))


def test_closed_values_go_together() -> None:
    """What a channel is worth depends on the tone that it comes with, for most teachers: nothing additive says it."""
    rng = np.random.default_rng(3)
    example = next(made for made in iter(lambda: compose(rng, "recommendation"), None) if _is_rich(made))
    bent = 0
    for index in range(0, 20, 2):
        worth = utility(draw_teacher(0, index), example)
        bent += abs(float(worth[0, 0, 0, 0] - worth[0, 1, 0, 0] - worth[0, 0, 0, 1] + worth[0, 1, 0, 1])) > 1e-9
    assert 2 <= bent <= 8


def _is_rich(example: Example) -> bool:
    return all(len(slot.values) > 1 for slot in example.request.slots)


def test_a_group_has_members_and_others() -> None:
    """Shares lie in [0, 1] and differ between customers, sharply for some groups and by degrees for others."""
    rng = np.random.default_rng(4)
    customers = [compose(rng).customer for _ in range(40)]
    blurred = 0
    for index in range(20):
        shares = [draw_teacher(0, index).tastes[0].group.share(customer) for customer in customers]
        assert all(0.0 <= share <= 1.0 for share in shares)
        assert max(shares) - min(shares) > 0.05
        blurred += any(0.05 < share < 0.95 for share in shares)
    assert 4 <= blurred <= 16


def test_money_counts_for_who_judges_by_outcome() -> None:
    """A dearer margin makes the same candidate worth more to a teacher who looks at money, and changes nothing for who does not."""
    rng = np.random.default_rng(5)
    example = compose(rng, "recommendation", candidates=(4, 4))
    first = example.request.candidates[0]
    dear = msgspec.structs.replace(first, margin_minor=100 * max(c.margin_minor for c in example.request.candidates))
    request = msgspec.structs.replace(example.request, candidates=(dear, *example.request.candidates[1:]))
    for index in range(1, 20, 2):
        teacher = draw_teacher(0, index)
        plain, rich = (
            utility(teacher, Example(r, example.attributes, example.customer)) for r in (example.request, request)
        )
        gain = (rich[0].mean() / rich[1:].mean()) / (plain[0].mean() / plain[1:].mean())
        assert gain > 1.5 if teacher.money else gain == pytest.approx(1.0)
