"""Teachers: their exact conditionals and their variety."""

import numpy as np
import pytest

from model.corpus import CUSTOMER, FAMILIES, compose
from model.teachers import conditionals, draw_teacher, sharpen, utility
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
