"""What others would have chosen beside a policy: it changes nothing of the curve, is kept, and is worth what its choices are worth."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.learning.beside import FOLDER, Watched, _played, main
from benchmarks.learning.beside_blocks import OTHERS, Beside, Choice, Gaps
from benchmarks.learning.beside_summary import beside_peers, summary
from benchmarks.learning.play import Block, Gap, play
from benchmarks.learning.production import Production
from benchmarks.learning.results import RESULTS, code_of, line_of, path_of, read
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import World

COUNT, SEED = 96, 999
ASKED = (*OTHERS.items(), ("fused", ("critic", "lm")))


@pytest.mark.parametrize("arm", sorted(OTHERS))
def test_it_is_kept_beside_the_curve(arm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run gives both files; a second run reads them; the curve is that of a policy watched by nobody."""
    asked = ["--arm", arm, "--seeds", str(SEED), "--interactions", str(COUNT), "--results", str(tmp_path)]
    assert main([*asked, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    code, world = code_of(arm, WorldKnobs()), World(SEED)
    curve = read(path_of(tmp_path, SEED, arm, code))
    (alone,) = play(world, Production(arm, world), COUNT)
    assert [line.lift for line in curve] == [said["lift"]] == [alone.lift]
    path = path_of(tmp_path / FOLDER, SEED, arm, code)
    path.write_bytes(path.read_bytes().replace(str(said["others"]["critic"]["lift"]).encode(), b"0.25"))
    assert main(asked) == 0, "a table too, and nothing is played again"
    assert "critic  0.250" in capsys.readouterr().out
    assert path_of(RESULTS, SEED, arm, code) not in set(RESULTS.rglob("*.jsonl"))


def test_who_else_chooses_can_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such a run has a file of its own, beside that of the usual others, in whatever order they are said; the policy itself is none of them."""
    asked = ["--arm", "fused", "--seeds", str(SEED), "--interactions", str(COUNT), "--results", str(tmp_path)]
    assert main([*asked, "--others", "critic", "lm"]) == 0
    usual = path_of(tmp_path / FOLDER, SEED, "fused", code_of("fused", WorldKnobs()))
    assert [path.name for path in usual.parent.iterdir()] == [f"{usual.stem}-critic-lm.jsonl"]
    (line,) = usual.with_stem(f"{usual.stem}-critic-lm").read_bytes().splitlines()
    assert set(msgspec.json.decode(line, type=Beside).others) == {"critic", "lm"}
    assert "  lm " in capsys.readouterr().out
    assert main([*asked, "--others", "lm", "critic"]) == 0
    assert len(list(usual.parent.iterdir())) == 1
    with pytest.raises(SystemExit):
        main([*asked[2:], "--arm", "lm", "--others", "lm"])


@pytest.mark.parametrize(("arm", "others"), ASKED)
def test_everybody_chooses_for_every_request(arm: str, others: tuple[str, ...]) -> None:
    """One allowed wish per request; others than the language model by itself chose; without an adapter nothing differs; `lm` chooses as that arm."""
    world = World(SEED)
    watched = Watched(Production(arm, world), others)
    moments = [world.moment(number) for number in range(16)]
    asked = [moment.request for moment in moments], [moment.grid for moment in moments]
    acted = watched.decide(*asked)
    served = [choice.action for choice in watched.served]
    assert served == [one.index for one in acted]
    for wished in watched.wished.values():
        for moment, choice in zip(moments, wished, strict=True):
            assert moment.grid.allowed[choice.action]
            assert choice.first[choice.action[0]] > 0.0
            assert choice.first.sum() == pytest.approx(1.0)
    chosen = {name: [choice.action for choice in wished] for name, wished in watched.wished.items()}
    assert (chosen["critic"] != served) == (arm == "lm")
    assert chosen.get("without_adapter", served) == served, "no adapter is there yet, and draws are the same"
    if "lm" in others:
        assert chosen["lm"] == [one.index for one in Production("lm", world).decide(*asked)] != served


def test_shares_and_differences_are_of_sums_over_blocks() -> None:
    """By hand: two seeds, two blocks of the first span; the first thousand does not count, nor does a span that was not played."""
    found = {
        seed: [_block(seed, 0, 0.0, 0.9), _block(seed, 1, 0.2, 0.4), _block(seed, 2, second, 0.4)]
        for seed, second in ((6, 0.2), (7, 0.4))
    }
    over, minus, new, ads, products, campaigns = summary("lm", ("critic",), found)
    assert over.startswith("blocks 1 to 5: lm over critic: +0.500, +0.750; mean +0.625 (95 % ")
    assert minus.startswith("blocks 1 to 5: lm minus critic: -0.200, -0.100; mean -0.150 (95 % ")
    assert new.startswith("blocks 1 to 5: lm minus critic, new products: -0.200, -0.067; mean -0.133 (95 % ")
    assert ads.startswith("blocks 1 to 5: lm minus critic, new campaigns: -0.200, -0.067; mean -0.133 (95 % ")
    told = "-0.200, -0.067; mean -0.133 (95 % "
    assert products.startswith(f"blocks 1 to 5: lm minus critic, new products, expected of the slot: {told}")
    assert campaigns.startswith(f"blocks 1 to 5: lm minus critic, new campaigns, expected of the slot: {told}")


def test_runs_from_before_the_slots_distribution_was_kept_are_summed_without_it() -> None:
    """The rest is told as it was."""
    blocks = [_block(seed, 1, 0.02 * seed, 0.4) for seed in (6, 7)]
    old = [msgspec.structs.replace(one, new_product_slot={}, new_campaign_slot={}) for one in blocks]
    now, before = (summary("lm", ("critic",), {one.seed: [one] for one in found}) for found in (blocks, old))
    assert before == now[:-2]


def test_beside_another_policy_the_language_model_is_compared_with_its_critic_and_with_peers() -> None:
    """By hand: `lm` has .3 and .5 where its critic has .4, the policy .09 and .25 and the best peer of the span .35; a worse peer counts nowhere, nor one that was not played so far."""
    found = {}
    for seed, lift in ((6, 0.3), (7, 0.5)):
        blocks = [msgspec.structs.replace(_block(seed, number, lift**2, 0.4), arm="fused") for number in (0, 1)]
        with_lm = [one.others | {"lm": Block(**_of(one.block, lift))} for one in blocks]
        found[seed] = [msgspec.structs.replace(one, others=all_) for one, all_ in zip(blocks, with_lm, strict=True)]
    lines = summary("fused", ("critic", "lm"), found)
    assert any(line.startswith("blocks 1 to 5: lm over critic: +0.750, +1.250; mean +1.000 (95 % ") for line in lines)
    peers = {
        (seed, name): [line_of(seed, name, 2000, "", None, Block(**_of(block, lift))) for block in (0, 1)]
        for seed in found
        for name, lift in (("epsilon", 0.35), ("vw", 0.1))
    }
    short = {(seed, "lints"): peers[seed, "epsilon"][:1] for seed in found}
    spans = beside_peers(("fused", "critic", "lm"), found, peers | short)
    assert [line.split(" (95 %")[0] for line in spans[:3]] == [
        "blocks 1 to 1: fused minus the best of vw, epsilon: -0.180",
        "blocks 1 to 1: critic minus the best of vw, epsilon: +0.050",
        "blocks 1 to 1: lm minus the best of vw, epsilon: +0.050",
    ]
    assert spans[3:] == spans[:3], "the span's only block is the last of all"
    assert not beside_peers(("fused",), found, {})


def test_what_is_expected_of_a_slot_is_the_mean_of_what_is_drawn_from_it() -> None:
    """Ten thousand draws of the first slot, the rest uniform: their mean lift is the expected one; drawn and expected are kept apart."""
    world = World(SEED, WorldKnobs(wave_start=10, wave_every=50))
    moment = next(one for one in map(world.moment, range(10, COUNT)) if one.launch)
    rng, count = np.random.default_rng(1), 10_000
    first = rng.dirichlet(np.ones(moment.grid.shape[0])) * moment.grid.allowed.any(
        tuple(range(1, moment.grid.allowed.ndim))
    )
    first /= first.sum()
    gaps, drawn = Gaps(), Gap()
    best = tuple(int(at) for at in np.unravel_index(int(np.argmax(moment.values)), moment.values.shape))
    gaps.add(moment, Choice(best, first), new_product=True, new_campaign=False)
    means = moment.by_candidate()
    for value in rng.choice(len(first), size=count, p=first):
        drawn.add(float(means[value]), float(np.nanmean(means)), float(np.nanmax(means)))
    assert gaps.products.lift == pytest.approx(drawn.lift, abs=0.03)
    assert (gaps.ads.count, gaps.campaigns.count, gaps.products.count) == (0, 0, 1)


def test_ads_that_may_show_a_campaign_of_the_latest_wave_are_counted() -> None:
    """Waves begin at interaction 10 of this shop: by its own assortment, so many ads; before, none."""
    knobs = WorldKnobs(wave_start=10, wave_every=50)
    world = World(SEED, knobs)
    (block,) = _played("fused", OTHERS["fused"], SEED, COUNT, "code", world)
    ads = [world.moment(number) for number in range(COUNT)]
    new = [m for m in ads if any(c.id.startswith(f"c{world.shop.wave_at(m.number)}") for c in m.request.candidates)]
    assert block.new_campaigns == len([m for m in new if m.number >= knobs.wave_start]) > 0
    names = {"fused", "critic", "without_adapter"}
    assert set(block.new_campaign_lift) == set(block.new_campaign_slot) == set(block.new_product_slot) == names


def _of(block: int, lift: float) -> dict[str, Any]:
    count = 10 * block
    return {
        **dict.fromkeys(("regret", "random"), 0.0),
        "block": block,
        "lift": lift,
        "reward": lift,
        "oracle": 1.0,
        "new_product_lift": lift if count else None,
        "new_products": count,
        "unseen_product_lift": None,
        "unseen_products": 0,
    }


def _block(seed: int, block: int, lift: float, own: float) -> Beside:
    others = {"critic": Block(**_of(block, own))}
    ads = {"lm": lift, "critic": own} if block else {}
    return Beside(
        **_of(block, lift),
        seed=seed,
        arm="lm",
        interactions=1000,
        code="",
        others=others,
        new_campaign_lift=ads,
        new_campaigns=10 * block,
        new_product_slot=ads,
        new_campaign_slot=ads,
    )
