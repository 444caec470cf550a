"""Encoder and vectors on disk: the version is the content's, others are refused in one line; neighbours are those of the scores."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model.data.errors import Refused
from model.representation.embedder import FILE, Embedder, Vectors
from model.representation.store import FILE as PRODUCTS
from model.representation.store import Store
from model.representation.words import Said
from tests.model.representation.test_words import encoder, ready

GOODS = {f"p{at}": Said(f"{kind} {at}") for at, kind in enumerate(("tea", "milk", "soap", "tea", "milk", "bread"))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with both files."""
    made = ready(encoder())
    (tmp_path / FILE).write_bytes(made.bytes())
    (tmp_path / PRODUCTS).write_bytes(Store.of(made, GOODS).bytes())
    return tmp_path


def test_what_is_written_is_read(folder: Path) -> None:
    """The same version and vectors; the same bytes when written again; another base or weight is another version."""
    found = Embedder.load(folder)
    assert found.bytes() == (folder / FILE).read_bytes()
    assert (found.version, found.base_sha256, found.sharpness) == (ready(encoder()).version, "b", 7.5)
    assert ready(encoder(), base="c").version != found.version
    assert ready(encoder(width=8)).version != found.version
    stored = Store.load(folder, found)
    assert stored.ids == sorted(GOODS)
    np.testing.assert_allclose(stored.vectors.own, found.embed([GOODS[key] for key in stored.ids]).own, atol=1e-3)


def test_neighbours_are_those_of_the_scores(folder: Path) -> None:
    """The best first, not itself; unknown products have none."""
    stored = Store.load(folder, Embedder.load(folder))
    scores = stored.vectors.own @ stored.vectors.beside[2]
    wanted = [stored.ids[at] for at in np.argsort(-scores, kind="stable") if at != 2]
    assert stored.beside("p2", 3) == wanted[:3]
    assert stored.beside("p2", 100) == wanted
    assert stored.beside("nobody's", 3) == []


def test_only_what_changed_is_encoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new product and a changed text are encoded, the rest is taken over; another version is encoded whole."""
    made = Embedder.load(folder)
    before = Store.load(folder, made)
    asked: list[str] = []
    plain = made.embed

    def watched(texts: list[Said]) -> Vectors:
        asked.extend(text.name for text in texts)
        return plain(texts)

    monkeypatch.setattr(made, "embed", watched)
    now = GOODS | {"p0": Said("green tea"), "p9": Said("ham")}
    after = Store.of(made, now, before)
    assert asked == ["green tea", "ham"]
    np.testing.assert_allclose(after.vectors.own, plain([now[key] for key in after.ids]).own, atol=1e-3)
    assert len(Store.of(ready(encoder(), base="c"), now, before).ids) == len(now)


def test_what_is_not_whole_is_refused(folder: Path, tmp_path: Path) -> None:
    """Missing, cut, of other shapes, changed within, of another version: one line each, with the file's name."""
    made = Embedder.load(folder)
    with pytest.raises(Refused, match=r"encoder\.safetensors is no encoder"):
        Embedder.load(tmp_path / "none")
    whole = (folder / FILE).read_bytes()
    other = ready(encoder(), base="c")
    with pytest.raises(Refused, match="is of the version"):
        Store.load(folder, other)
    (folder / PRODUCTS).write_bytes((folder / PRODUCTS).read_bytes()[:-9])
    with pytest.raises(Refused, match="holds no vectors"):
        Store.load(folder, made)
    (folder / FILE).write_bytes(whole[:500])
    with pytest.raises(Refused, match="is no encoder"):
        Embedder.load(folder)
    told = {"version": made.version, "recipe": "words-1", "base_sha256": "b", "sharpness": 7.5}
    (folder / FILE).write_bytes(whole)
    tensors = load_file(folder / FILE)
    for change, wanted in (({"rarity": tensors["rarity"] * 2}, "its content is"), ({"rarity": tensors["rarity"][:9]}, "wanted finite"),
                           ({"own.weight": tensors["own.weight"] * np.nan}, "wanted finite")):  # fmt: skip
        save_file(tensors | change, folder / FILE, {"told": json.dumps(told)})
        with pytest.raises(Refused, match=wanted):
            Embedder.load(folder)
    save_file(tensors, folder / FILE, {"told": json.dumps(told | {"recipe": "words-0"})})
    with pytest.raises(Refused, match="recipe 'words-0'"):
        Embedder.load(folder)
