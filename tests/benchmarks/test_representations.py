"""What the representations' benchmark computes: EASE is its constrained ridge, months keep the future apart, complements are those of the rule."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from benchmarks.complements import world, write
from benchmarks.complements_found import share
from benchmarks.peers.ease import ease
from benchmarks.representation_months import JUDGED, Month, goods, month
from benchmarks.representations import beside, near_by_words, recalls, smoothed
from model.representation.words import Said


def test_ease_is_the_ridge_whose_diagonal_is_zero() -> None:
    """Each good's weights are those of a ridge regression on all the others."""
    rng = np.random.default_rng(0)
    bought = rng.poisson(1.0, (40, 6)).astype(float)
    table, ridge = np.sqrt(bought), 3.0
    scores = ease(sparse.csr_matrix(bought), sparse.csr_matrix(bought[:5]), ridge, 6)
    for good in range(6):
        others = np.delete(np.arange(6), good)
        x = table[:, others]
        weights = np.linalg.solve(x.T @ x + ridge * np.eye(5), x.T @ table[:, good])
        np.testing.assert_allclose(scores[:, good], table[:5][:, others] @ weights, atol=1e-9)
    few = ease(sparse.csr_matrix(bought), sparse.csr_matrix(bought), ridge, 2)
    assert (few.any(axis=0)).sum() == 2


def prepared(folder: Path) -> Path:
    """Eight goods, six customers: what each bought in October and in December."""
    kinds = ["tea", "milk", "soap", "ham"]
    products = [
        {"product_id": f"p{at}", "name": f"{kinds[at // 2]} {at % 2}", "category": f"ALL > {kinds[at // 2]}", "brand": "b", "description": None,
         "size": None, "type": kinds[at // 2]} for at in range(8)
    ]  # fmt: skip
    rows = [
        {"customer_id": f"c{who}", "order_id": f"{who} {day}", "at": datetime(2017, 10, 1, tzinfo=UTC) + timedelta(days=day),
         "state": "order", "product_id": f"p{(who + day) % 8}"}
        for who in range(6) for day in (1, 20, 70)
    ]  # fmt: skip
    folder.mkdir(exist_ok=True)
    pl.DataFrame(products, infer_schema_length=None).write_parquet(folder / "products.parquet")
    pl.DataFrame(rows).write_parquet(folder / "transactions.parquet")
    return folder


@pytest.mark.parametrize("new", [False, True])
def test_a_month_keeps_what_comes_after_it_apart(tmp_path: Path, *, new: bool) -> None:
    """History is what was bought before the day, the month what within 30 days after; of held-out goods nothing is known, and only they are ranked."""
    bought, names, said = goods(prepared(tmp_path / "data"), "product")
    of: Month = month(bought, names, said, JUDGED, new=new)
    history = of.history[365.0].toarray()
    assert of.ranked.all() != new
    for row in range(history.shape[0]):
        held = set(np.flatnonzero(of.ranked)) if new else set()
        assert set(of.bought[row].indices) <= set(np.flatnonzero(of.ranked))
        assert not held & set(np.flatnonzero(history[row]))
    assert (
        all(not set(np.flatnonzero(of.ranked)) & set(found.items.tolist()) for found in of.baskets.values()) or not new
    )
    day = 20 if not new else None
    if day is not None:
        who = 0
        ages = [(JUDGED - datetime(2017, 10, 1, tzinfo=UTC)).days - days for days in (1, 20)]
        assert history[who].sum() == pytest.approx(sum(0.5 ** (age / 365) for age in ages))


def made(*, new: bool) -> Month:
    """Four goods of three texts; the last good's text is new where `new`."""
    history = {365.0: sparse.csr_matrix(np.array([[2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]]))}
    ranked = np.array([not new, not new, not new, True])
    bought = sparse.csr_matrix(np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]]))
    popular = {365.0: np.array([0.5, 0.25, 0.25, 0.0001])}
    said = (
        [Said("red tea"), Said("green tea"), Said("soap")]
        if not new
        else [Said("red tea"), Said("soap"), Said("green tea")]
    )
    of_text = np.array([0, 0, 1, 2])
    return Month(history, bought, popular, of_text, said, ranked, None, {}, history)  # type: ignore[arg-type]  # no encoder learns from it


def test_what_goes_beside_is_shared_among_what_may_be_ranked() -> None:
    """Each thing bought hands out 1, by popularity and nearness; goods of one text by popularity."""
    of = made(new=False)
    near = near_by_words(of)
    assert near[0, 1] > near[0, 2]
    np.testing.assert_allclose(np.diag(near), 1.0, atol=1e-6)
    scores = beside(of, near, near, 365.0, 3.0)
    np.testing.assert_allclose(scores.sum(1), [2.0, 2.0], rtol=1e-5)
    assert scores[0, 0] == pytest.approx(2 * scores[0, 1])
    weight = np.array([0.75, 0.25, 0.0001]) * np.exp(3.0 * near[0])
    np.testing.assert_allclose(scores[0, 2], 2 * weight[1] / weight.sum(), rtol=1e-4)


def test_new_goods_have_the_popularity_of_what_is_near() -> None:
    """It sums to 1 over what is ranked; green tea is like red tea, not like soap; recall counts hits among the first."""
    of = made(new=True)
    near = near_by_words(of)
    share_of = smoothed(of, near, 365.0)
    weight = np.exp(12.0 * near[2, :2])
    wanted = weight @ np.array([0.75, 0.25]) / weight.sum()
    ratio = share_of[3] / share_of[0]
    assert (
        0
        < ratio
        == pytest.approx(
            wanted / (np.exp(12.0 * near[0, :2]) @ np.array([0.75, 0.25]) / np.exp(12.0 * near[0, :2]).sum())
        )
    )


def test_recall_is_the_share_that_was_found() -> None:
    """Of two goods bought one is among the first twenty; what may not be ranked takes no place."""
    ranked = np.r_[np.ones(30, np.bool_), np.zeros(10, np.bool_)]
    bought = sparse.csr_matrix(np.eye(1, 40, 0) + np.eye(1, 40, 29))
    of = Month({}, bought, {}, np.arange(40), [], ranked, None, {}, {})  # type: ignore[arg-type]  # only recall is asked
    scores = -np.arange(40.0)[None]
    scores[0, 30:] = 99.0
    assert recalls(of, scores).tolist() == [0.5]


def test_complements_follow_the_rule_and_nothing_held_out_is_bought_early(tmp_path: Path) -> None:
    """Eight of the other kind and the same system, and back; training baskets have training products; the same seed writes the same."""
    of = world(1)
    for product in (0, 100, 959):
        right = of.complements(product)
        assert right.sum() == 8
        assert all(of.complements(at)[product] for at in np.flatnonzero(right).tolist())
        assert (
            len({of.names[product].split()[1], *(of.names[at].split()[1] for at in np.flatnonzero(right).tolist())})
            == 1
        )
    for name in ("a", "b"):
        write(of, tmp_path / name, 300, 1)
    table = pl.read_parquet(tmp_path / "a" / "transactions.parquet")
    assert table.equals(pl.read_parquet(tmp_path / "b" / "transactions.parquet"))
    parts = np.array(of.part)
    early = table.filter(pl.col("split") == "train")["product_id"].str.slice(1).cast(pl.Int64).to_numpy()
    assert set(parts[early]) == {"train"}


def test_the_share_of_complements_is_counted_among_the_first_five() -> None:
    """Itself apart; equal scores find what chance would."""
    right = np.array([False, True, True, False, False, False, False, False])
    scores = np.array([9.0, 8.0, 1.0, 7.0, 6.0, 5.0, 4.0, 0.0])
    assert share(scores, right, 0) == pytest.approx(0.2)
    assert share(np.zeros(8), right, 0) == pytest.approx(2 / 7)
