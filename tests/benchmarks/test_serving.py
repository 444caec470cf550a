"""The benchmarks of serving run and check, so that they cannot rot; what they measure is nobody's test."""

import json

import pytest
from msgspec import structs

from benchmarks import joining, prefixes, serving, swap
from model import adapter
from model.fresh import random_lm
from model.lm import LanguageModel


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """A tiny base with its slots."""
    model = random_lm(7, width=32, layers=2)
    adapter.attach(model)
    return model


def test_a_small_run_prints_one_line_per_system_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the peer, which needs an extra package: every line has its figures, and no ratio."""
    asked = [
        "--batches",
        "2",
        "--requests",
        "2",
        "--runs",
        "1",
        "--systems",
        "ours,ours_fused",
        "--texts",
        "off,on",
        "--json",
    ]
    assert serving.main(asked) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["system"], line["text"]) for line in lines] == [
        ("ours", "off"), ("ours_fused", "off"), ("ours", "on"), ("ours_fused", "on"),
    ]  # fmt: skip
    assert all(line["median_ms"] > 0 and line["ratio"] is None for line in lines)


def test_the_peer_writes_what_its_grammar_allows(lm: LanguageModel) -> None:
    """Where llguidance is installed: every slot in order, each with one of its values."""
    pytest.importorskip("llguidance")
    from benchmarks.peers.generate import Generator

    asks = serving.asks_of(3, 4, "lm")
    documents = Generator(lm, "slot_a", 1.0).decide([ask.request for ask in asks])
    for ask, document in zip(asks, documents, strict=True):
        words = document.split()
        assert words[0] == "decide:"
        assert [word.rstrip("=") for word in words[1::2]] == [slot.name for slot in ask.request.slots]
        closed = {slot.name: slot.values for slot in ask.request.slots if words[2].startswith("c")}
        named = dict(zip(words[1::2], words[2::2], strict=True))
        assert all(named[f"{name}="] in values for name, values in list(closed.items())[1:])


def test_each_strategy_is_reproduced_by_the_versions_it_names(lm: LanguageModel) -> None:
    """Under a swap before every batch; and one that names another version, or logs another number, is noticed."""
    versions = swap.Versions(lm, 3)
    _, strategies = swap.serve(lm, versions, swaps=10, batch=2, seed=3)
    assert len({one.strategy_id for one in strategies}) == 20
    assert len({one.policy.adapter for one in strategies}) == 10
    assert len({one.policy.critic for one in strategies}) > 1
    assert swap.irreproducible(lm, versions, strategies) == []
    other = structs.replace(strategies[0].policy, adapter=strategies[2].policy.adapter)
    wrong = [structs.replace(strategies[0], policy=other), structs.replace(strategies[1], propensity=0.5)]
    assert len(swap.irreproducible(lm, versions, wrong)) == 2


def test_what_prompts_have_in_common_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """A line per source, header and size: without a cache nothing is kept; with one, of a header's prompts all but the first ones."""
    asked = ["--requests", "12", "--headers", "0,64", "--mib", "0,4", "--runs", "1", "--batch", "4", "--json"]
    assert prefixes.main(asked) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["header"], line["mib"]) for line in lines] == [(0, 0), (0, 4), (64, 0), (64, 4)] * 2
    for line in lines:
        assert line["kept"] <= line["common"]
        assert (line["kept"] > 0.0) == (line["header"] == 64 and line["mib"] == 4)


def test_both_ways_of_serving_answer_every_request() -> None:
    """Played with costs by hand: each request has its latency; alone on the machine both take what the parts take."""
    parts = joining.Parts(
        read=joining.Cost(1.0, 2.0), step=joining.Cost(1.0, 1.0), rest=joining.Cost(2.0, 3.0), io=joining.Cost(4.0, 0.0)
    )
    for play in joining.WAYS.values():
        alone, busy = play([0.0, 10.0, 20.0], parts, 1.0)
        assert alone == pytest.approx([0.018] * 3)
        assert busy == pytest.approx(3 * 0.018)
        crowd, _ = play([number / 1000 for number in range(100)], parts, 1.0)
        assert len(crowd) == 100
        assert min(crowd) >= 0.018 - 1e-9
