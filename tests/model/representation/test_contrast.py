"""InfoNCE is its formula, with the correction for popularity; what was bought together is never a negative; baskets are those of the orders."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from model.representation.baskets import Baskets, log_shares, together
from model.representation.contrast import drawn, info_nce

BASKETS = Baskets(np.array([0, 1, 2, 0, 3, 4, 5, 1, 3]), np.array([0, 3, 5, 7, 9]), np.array([0, 0, 1, 2]))


def test_the_loss_is_its_formula() -> None:
    """-log of the softmax over the batch, popularity taken out, masked ones left out."""
    rng = np.random.default_rng(0)
    beside, own = (torch.tensor(rng.normal(size=(4, 3)), dtype=torch.float32) for _ in range(2))
    log_q = torch.tensor(rng.normal(size=4), dtype=torch.float32)
    known = torch.zeros(4, 4, dtype=torch.bool)
    known[0, 2] = True
    scores = (5.0 * beside @ own.T - log_q).numpy().astype(float)
    scores[0, 2] = -np.inf
    wanted = np.mean([np.log(np.exp(row).sum()) - row[at] for at, row in enumerate(scores)])
    assert float(info_nce(beside, own, torch.tensor(5.0), log_q, known)) == pytest.approx(wanted, abs=1e-5)


def test_a_draw_is_of_one_basket_and_knows_what_is_no_negative() -> None:
    """Two different products of each basket; a column that the row's basket has, or a text like it, is masked; the row's own is not."""
    alike = np.array([0, 1, 2, 3, 4, 1])  # the last says what the second says
    chosen = np.arange(4)
    for seed in range(40):
        pair = drawn(BASKETS, chosen, alike, np.random.default_rng(seed))
        for row in range(4):
            held = set(BASKETS.of(row).tolist())
            texts = set(alike[list(held)].tolist())
            assert {pair.anchors[row], pair.others[row]} <= held
            assert pair.anchors[row] != pair.others[row]
            wanted = [column != row and alike[pair.others[column]] in texts for column in range(4)]
            assert pair.known[row].tolist() == wanted


def test_shares_are_those_of_the_draws() -> None:
    """The chance that a basket's draw is a product: each basket gives one, evenly among its products; together 1."""
    shares = np.exp(log_shares(BASKETS, 6))
    assert shares.sum() == pytest.approx(1.0, abs=1e-5)
    assert shares[0] == pytest.approx((1 / 3 + 1 / 2 + 1 / 6) / 5, abs=1e-6)


def test_baskets_are_orders_or_windows() -> None:
    """An order with two products is a basket; with a window, what a customer buys within it; a product counts once."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        ("a", "o1", 0, 3),
        ("a", "o1", 0, 3),
        ("a", "o1", 0, 1),
        ("a", "o2", 2, 5),
        ("b", "o3", 0, 7),
        ("a", "o4", 40, 9),
    ]
    frame = pl.DataFrame(
        [(c, o, begin + timedelta(days=d), i) for c, o, d, i in rows],
        schema=["customer_id", "order_id", "at", "item"],
        orient="row",
    )
    alone = together(frame, 0.0)
    assert (alone.items.tolist(), alone.starts.tolist()) == ([1, 3], [0, 2])
    joined = together(frame, 7.0)
    assert (joined.items.tolist(), joined.starts.tolist(), joined.total) == ([1, 3, 5], [0, 3], 1)
