"""The gate for bases: its disturbances do what they say, and lifts are measured right."""

import numpy as np
import pytest
import torch

from model import adapter
from model.base_gate import Student, lift, permute, shelf, swap_texts, trial, visit
from model.fresh import random_lm
from model.prompt import render
from model.teachers import draw_teacher
from model.utility import utility
from tests.model.composed import requests


def test_lift_is_the_share_of_what_is_possible() -> None:
    """By hand: of values 0, 1, 2 (mean 1, best 2) choosing 2 is 1, choosing 1 is 0, choosing 0 is -1."""
    worth = np.array([0.0, 1.0, 2.0])
    assert [lift([worth], [(place,)]) for place in (2, 1, 0)] == pytest.approx([1.0, 0.0, -1.0])
    pairs = np.array([[0.0, 4.0], [2.0, 2.0]])
    assert lift([pairs], [(0, 0)], first_slot=True) == pytest.approx(1.0)


def test_permuting_moves_names_and_keeps_worth() -> None:
    """The same texts are read in another order under other names, and an action of a text is worth what it was."""
    rng = np.random.default_rng(0)
    example, critic = visit(shelf(0, "recommendation", 16), "recommendation", rng), draw_teacher(5, 0)
    moved = permute(example, rng)
    assert sorted(render(moved.request).candidates) == sorted(render(example.request).candidates)
    before, after = (
        dict(zip([c.id for c in e.request.candidates], render(e.request).candidates, strict=True))
        for e in (example, moved)
    )
    assert before != after
    assert utility(critic, moved).max() == pytest.approx(utility(critic, example).max())


def test_swapping_gives_every_candidate_the_next_ones_text() -> None:
    """Ids stay in place, texts move by one among candidates of the same sort."""
    request = next(r for r in requests(4) if r.kind == "recommendation")
    swapped = swap_texts(request)
    texts = render(request).candidates
    assert [c.id for c in swapped.candidates] == [c.id for c in request.candidates]
    assert render(swapped).candidates == (*texts[1:], texts[0])


def test_teaching_moves_the_adapter_towards_its_critic() -> None:
    """A few steps lower the KL to an unseen critic, also for an untrained base, and leave the base as it was."""
    lm = random_lm(1, width=32, layers=2)
    digest = lm.base_sha256
    adapter.attach(lm, ("slot_x",), seed=0)
    rng, goods = np.random.default_rng(1), shelf(0, "recommendation", 8)
    student = Student(lm, draw_teacher(5, 0), [visit(goods, "recommendation", rng) for _ in range(64)], "slot_x", 0)
    losses = [student.step() for _ in range(15)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    del lm.base_sha256
    assert lm.base_sha256 == digest
    assert all(torch.isfinite(p).all() for p in student.parameters)


def test_a_trial_measures_everything() -> None:
    """A small trial of an untrained base ends with numbers, and such a base does not pass."""
    lm = random_lm(1, width=32, layers=1)
    got = trial(lm, 0, kind="ad", marks=(1,), train=64, test=16)
    assert set(got.after) == {"1"}
    assert got.after["1"].greedy < 0.8
    assert got.kl > 0.1
