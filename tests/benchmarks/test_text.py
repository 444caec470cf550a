"""The benchmark of whether texts are read: values go with what they belong to, fresh words are fresh, and a small run tells every condition."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.text import learned as learning
from benchmarks.text.__main__ import conditions, main
from benchmarks.text.lifts import Asked, asked, lift, moments, permuted, swapped, without_words
from benchmarks.text.wordings import Fresh, free_text, fresh, known_words, other_order, reworded
from benchmarks.worlds.lexicon import STYLES
from benchmarks.worlds.world import World
from model import adapter
from model.prompt import MAX_WORDS, clean

SEED = 11


def test_lift_is_one_for_the_best_and_nothing_for_chance() -> None:
    """By hand: the best product of each request gives 1, equal chances 0."""
    asks = asked(moments(World(SEED), 0, 6, launched=False))
    best = [np.eye(len(ask.values))[int(np.nanargmax(ask.values))] for ask in asks]
    uniform = [np.full(len(ask.values), 1.0 / len(ask.values)) for ask in asks]
    assert lift(asks, best) == pytest.approx(1.0)
    assert lift(asks, uniform) == pytest.approx(0.0, abs=1e-9)


def test_values_go_with_texts_or_with_ids() -> None:
    """Permuted, a text keeps its value under another id; swapped, an id keeps its value under another text."""
    asks = asked(moments(World(SEED), 0, 6, launched=False))
    for before, after in zip(asks, permuted(asks, SEED), strict=True):
        assert _worth(after, by_text=True) == _worth(before, by_text=True)
        assert {one.id for one in after.request.candidates} == {one.id for one in before.request.candidates}
    assert any(
        _worth(a, by_text=False) != _worth(b, by_text=False) for a, b in zip(permuted(asks, 1), asks, strict=True)
    )
    for words_only in (False, True):
        for before, after in zip(asks, swapped(asks, words_only=words_only), strict=True):
            assert _worth(after, by_text=False) == _worth(before, by_text=False)
            pairs = list(zip(before.request.candidates, after.request.candidates, strict=True))
            assert all(own.name != shown.name for own, shown in pairs)
            assert all(own.relation == shown.relation for own, shown in pairs) is words_only


def _worth(ask: Asked, *, by_text: bool) -> dict[str, float]:
    said = {one.id: f"{one.name} {one.price_minor}" if by_text else one.id for one in ask.request.candidates}
    return {said[value]: float(worth) for value, worth in zip(ask.request.slots[0].values, ask.values, strict=True)}


def test_a_critic_without_words_sees_none() -> None:
    """Names, categories, brands and texts are gone; prices and relations stay only where they are asked for."""
    request = moments(World(SEED), 0, 1, launched=False)[0].request
    for seen in ("ids", "relations"):
        bare = without_words(request, seen).candidates
        assert {(one.name, one.category, one.brand, one.text) for one in bare} == {("", (), "", "")}
        assert [one.id for one in bare] == [one.id for one in request.candidates]
        assert any(one.relation for one in bare) is (seen == "relations")
        assert (len({one.price_minor for one in bare}) > 1) is (seen != "ids")


def test_fresh_products_are_of_no_run_and_wordings_keep_what_a_product_is() -> None:
    """Strange ones have no word of pretraining's; another order has the same words, a free description both styles within what is read."""
    goods = fresh(SEED, 0, count=30)
    world = World(SEED)
    known = {good.id for wave in range(10) for good in world.shop.assortment(wave, "product")}
    assert not known & {good.id for good in goods}
    for good in fresh(SEED, 0, only_strange=True, count=10):
        assert not set(good.name.split()) & known_words()
    for before, after in zip(goods, reworded(goods, other_order, SEED), strict=True):
        assert set(before.name.split()) <= set(after.name.split())
        assert (before.category, before.styles, before.price_minor) == (after.category, after.styles, after.price_minor)
    for good in reworded(goods, free_text, SEED):
        read = clean(good.name, MAX_WORDS).split()
        assert all(STYLES[style] in read for style in good.styles)
        assert set(re.findall("[a-z]+", good.name.lower())) - known_words()


def test_the_fresh_shop_offers_its_products_alone_to_the_same_customers() -> None:
    """Conditions differ in products and words, not in who is asked."""
    found = conditions(SEED, 10, 3)
    users = [[ask.request.user_id for ask in found[name]] for name in ("fresh", "strange", "order", "free")]
    assert users[0] == users[1] == users[2] == users[3]
    shown = {one.id for ask in found["fresh"] for one in ask.request.candidates}
    assert all(identity.startswith("p9") for identity in shown)
    assert [ask.values.tolist() for ask in found["fresh"]] == [ask.values.tolist() for ask in found["free"]]
    assert Fresh(SEED, World(SEED).knobs, ()).wave_at(0) == 1


def test_a_small_run_tells_every_condition_and_plays_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line per condition and a row in the table; what was played is read again and gives the same."""
    told = []
    sizes = ["--interactions", "150", "--requests", "6", "--steps", "2", "--json"]
    for _ in range(2):
        assert main(["--seed", str(SEED), "--keep", str(tmp_path), *sizes]) == 0
        told.append(capsys.readouterr())
    assert told[0].out == told[1].out
    assert "critic, block 0" in told[0].err
    assert "critic, block 0" not in told[1].err
    lines = [json.loads(line) for line in told[0].out.splitlines() if line.startswith("{")]
    assert [line["condition"] for line in lines] == list(conditions(SEED, 150, 1))
    assert all(np.isfinite(line["lm"]) and line["lm"] <= 1.0 for line in lines)
    assert sum(line.startswith("| known |") for line in told[0].out.splitlines()) == 1


def test_teaching_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted at the second of three steps and begun again, it ends with the adapter of one go."""
    found = learning.played(World(SEED), 70)
    whole = adapter.parameters(learning.distilled(found, SEED, 3), learning.SLOT)
    said: list[str] = []

    def stop(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(learning, "TOLD_EVERY", 1)
    monkeypatch.setattr(learning, "say", stop)
    with pytest.raises(KeyboardInterrupt):
        learning.distilled(found, SEED, 3, at=tmp_path / "adapter")
    again = adapter.parameters(learning.distilled(found, SEED, 3, at=tmp_path / "adapter"), learning.SLOT)
    assert [text.split(",")[0] for text in said[1:]] == [f"seed {SEED}: LoRA step {step} of 3" for step in (2, 2, 3)]
    assert all(torch.allclose(again[key], whole[key], atol=1e-6) for key in whole)
    kept = adapter.parameters(learning.distilled(found, SEED, 3, at=tmp_path / "adapter"), learning.SLOT)
    assert all(torch.equal(kept[key], again[key]) for key in again)
    assert len(said) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
