"""The contrastive run: killed and resumed it is the undisturbed one; it finds known complements, of products nobody bought yet too."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from benchmarks.complements import World, world, write
from model.data.errors import Refused
from model.representation.baskets import read
from model.representation.embedder import Embedder
from model.representation.figures import Pairs, figures, ranks, tf_idf
from model.representation.pretrain import Settings, main
from model.representation.store import Store
from model.representation.words import Said, bags
from services.cli import main as command
from tests.model.training.killing import killed_and_resumed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A world with known complements, as a prepared folder."""
    of, folder = world(0), tmp_path_factory.mktemp("world")
    write(of, folder, 6_000, 0)
    return of, folder


@pytest.mark.timeout(400)
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(made: tuple[World, Path], tmp_path: Path) -> None:
    """Every file is the same; the verdict decides how it exits; what was stored is what the encoder says."""
    _, data = made
    asked = [
        "pretrain",
        "--objective",
        "contrastive",
        "--data",
        data,
        "--steps",
        60,
        "--width",
        16,
        "--buckets",
        2048,
        "--batch",
        64,
    ]
    whole, said = killed_and_resumed(asked, tmp_path)
    assert "minutes" in said
    embedder = Embedder.load(whole / "representation")
    assert json.loads((whole / "report.json").read_bytes())["version"] == embedder.version
    assert len(Store.load(whole / "representation", embedder).ids) == len(world(0).names)


def test_known_complements_are_found_before_anybody_bought_the_product(
    made: tuple[World, Path], tmp_path: Path
) -> None:
    """Among products held out whole, the complements come before what tf-idf finds, with the interval; and among known ones."""
    of, data = made
    report = main(
        data,
        tmp_path / "run",
        Settings(steps=300, width=32, buckets=4096),
        lambda *_: None,
        resume=True,
        overwrite=False,
    )
    assert report["verdict"]["go_on"]
    assert report["new_products"]["gain"]["low"] > 0.03
    assert report["known_products"]["gain"]["low"] > 0.03
    folder = tmp_path / "run" / "representation"
    stored = Store.load(folder, Embedder.load(folder))
    held = [at for at in np.flatnonzero(of.part == "test").tolist() if (of.complements(at) & (of.part == "test")).any()]
    best = [int(stored.beside(f"p{at:04d}", 8)[0][1:]) for at in held]
    hits = np.mean([of.complements(at)[found] for at, found in zip(held, best, strict=True)])
    assert hits > 0.5  # by chance one in a hundred


def test_ranks_count_ties_half_and_never_the_given_product() -> None:
    """Places by formulas; recall and its interval follow from them."""
    table = np.array([[9.0, 3.0, 2.0, 2.0], [1.0, 9.0, 1.0, 1.0], [0.0, 5.0, 9.0, 7.0]])
    candidates = np.array([True, True, True, True])
    pairs = Pairs(np.array([0, 0, 1, 2]), np.array([1, 2, 3, 0]), np.array([0, 0, 1, 2]))
    found = ranks(pairs, candidates, lambda given: table[given])
    assert found.tolist() == [1, 2, 2, 3]
    told = figures({"a": found, "b": found + 30}, pairs.groups, "b", "a", 0)
    assert told["models"]["a"]["recall_at_20"].value == 1.0
    assert told["models"]["a"]["mean_reciprocal_rank"].value == pytest.approx((1 + 0.5 + 0.5 + 1 / 3) / 4)
    assert (told["gain"].low, told["gain"].value, told["gain"].high) == (1.0, 1.0, 1.0)


def test_tf_idf_is_that_of_the_library() -> None:
    """Cosines are scikit-learn's on the same features."""
    from sklearn.feature_extraction.text import TfidfTransformer

    texts = [Said("red tea"), Said("green tea", ("Tea",)), Said("milk", (), "Cow")]
    found = bags(texts, 1 << 18)
    counts = np.zeros((3, 1 << 18))
    for row in range(3):
        counts[row, found.features[found.starts[row] : found.starts[row + 1]]] = 1
    rows = TfidfTransformer().fit_transform(counts).toarray()
    np.testing.assert_allclose(tf_idf(found, 1 << 18)(np.arange(3)), rows @ rows.T, atol=1e-6)


def test_what_training_may_not_see_is_not_in_its_baskets(made: tuple[World, Path]) -> None:
    """No held-out product is in a training basket, none of the test's in validation, whatever the rows say."""
    _, data = made
    shop = read(data)
    parts = np.array(shop.parts)
    assert set(parts[shop.baskets["train"].items]) == {"train"}
    assert set(parts[shop.baskets["valid"].items]) == {"train", "valid"}
    assert set(parts[shop.baskets["test"].items]) == {"train", "valid", "test"}


def test_what_cannot_be_used_is_named(made: tuple[World, Path], tmp_path: Path) -> None:
    """A missing file, a missing column, orders of one product each, an option of another objective: each in one line."""
    _, data = made
    with pytest.raises(Refused, match=r"no products\.parquet"):
        read(tmp_path)
    pl.read_parquet(data / "products.parquet").write_parquet(tmp_path / "products.parquet")
    bought = pl.read_parquet(data / "transactions.parquet")
    bought.drop("order_id").write_parquet(tmp_path / "transactions.parquet")
    with pytest.raises(Refused, match="no column order_id"):
        read(tmp_path)
    bought.unique("order_id").write_parquet(tmp_path / "transactions.parquet")
    with pytest.raises(Refused, match="nothing was bought together"):
        main(tmp_path, tmp_path / "none", Settings(), lambda *_: None, resume=True, overwrite=False)
    assert not list(tmp_path.glob(".none*"))
    wrong = CliRunner().invoke(command, ["pretrain", "--objective", "contrastive", "--data", str(data), "--out", str(tmp_path / "x"), "--layers", "2"])  # fmt: skip
    assert "--objective contrastive has no --layers" in wrong.output
    assert wrong.exit_code == 2
