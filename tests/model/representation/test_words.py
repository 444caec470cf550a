"""Texts as features: the same everywhere, bounded, hostile texts among them; vectors without torch are those with it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.representation.embedder import Embedder
from model.representation.encoder import Encoder
from model.representation.kin import LANDMARKS
from model.representation.start import directions
from model.representation.words import MAX_FEATURES, Said, bags, features, hashed, rarity

TEXTS = [
    Said("Ground coffee", ("Drinks", "Coffee"), "Bean Co", "250 g"),
    Said("Whole milk", ("Dairy",), "", ""),
    Said("抹茶 ラテ", ("飲料",), "和", ""),
    Said("", (), "", ""),
]


def encoder(buckets: int = 512, width: int = 16) -> Encoder:
    """An encoder whose inner layer does something."""
    found = bags(TEXTS, buckets)
    made = Encoder(rarity(found, buckets), directions(found, rarity(found, buckets), width, 0), 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for part in (made.outer, made.own, made.beside):
            torch.nn.init.normal_(part.weight, std=0.3)
    return made


def ready(made: Encoder, base: str = "b", sharpness: float = 7.5) -> Embedder:
    """The same without torch."""
    weights = {name: t.numpy() for name, t in made.state_dict().items() if name != "log_sharpness"}
    width = weights["bag.weight"].shape[1]
    marks = np.random.default_rng(0).normal(size=(LANDMARKS, width)).astype(np.float32)
    return Embedder(weights | {"landmarks": marks}, base, sharpness)


def test_features_name_words_neighbours_letters_category_and_brand() -> None:
    """Each once, whatever the case; the hashes are fixed numbers: a stored encoder reads texts as it learned them."""
    found = features(Said("Red RED tea", ("Tea",), "Bean Co"))
    assert found[:6] == ["category=tea", "brand=bean co", "red", "tea", "red red", "red tea"]
    assert {"*<re", "*red", "*ed>", "*<te", "*ea>"} <= set(found)
    assert len(found) == len(set(found))
    assert hashed(Said("tea"), 1 << 14) == [6066, 9623, 7910, 7872]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=3_000), st.lists(st.text(max_size=50), max_size=5), st.text(max_size=2_000))
def test_any_text_has_bounded_features_and_vectors_of_length_one(name: str, path: list[str], brand: str) -> None:
    """Surrogates, controls and a million characters' worth of noise are text like any other."""
    said = Said(name, tuple(path), brand, name)
    assert len(hashed(said, 512)) <= min(MAX_FEATURES, 512)
    vectors = READY.embed([said])
    for rows in vectors:
        assert rows.dtype == np.float32
        assert np.isclose(np.linalg.norm(rows[0]), 1.0 if hashed(said, 512) else 0.0, atol=1e-4)


READY = ready(encoder())


def test_vectors_without_torch_are_those_with_it() -> None:
    """Of texts together and alone, an empty one has zeros."""
    made = encoder()
    with torch.no_grad():
        wanted = made(bags(TEXTS, 512))
    found = ready(made).embed(TEXTS)
    for name in ("own", "beside"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name).numpy(), atol=1e-5)
    np.testing.assert_allclose(ready(made).embed(TEXTS[1:2]).own[0], found.own[1], atol=1e-6)
    assert not found.own[3].any()
    assert not made(bags([Said("")], 512)).own.any()


def test_untrained_vectors_are_near_where_texts_are() -> None:
    """The first directions are the texts' own: with as many as there are texts, cosines are those of tf-idf."""
    texts = [Said(f"{a} {b}") for a in ("tea", "milk", "soap") for b in ("red", "blue")]
    found = bags(texts, 4096)
    weights = rarity(found, 4096)
    made = Encoder(weights, directions(found, weights, 5, 0), 0)
    with torch.no_grad():
        own = made(found).own.numpy()
    near = own @ own.T
    assert near[0, 1] > near[0, 3]
    assert near[0, 2] > near[0, 3]
    assert near[0, 0] == pytest.approx(1.0, abs=1e-5)
