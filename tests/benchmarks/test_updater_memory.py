"""What an updater remembers has the bounds of its settings, and the benchmark notices when memory grows."""

import json

import pytest
from msgspec import structs

from benchmarks import updater_memory
from benchmarks.updater_memory import Interval, grown, played
from model import distil
from services.settings import UpdaterSettings

SMALL = UpdaterSettings(window=60, buffer=40, refit_every=1000, train_every=100, batch=4)


def test_every_buffer_is_full_and_no_fuller() -> None:
    """Window, replay and ids stop at their settings, whatever comes after."""
    told = list(played(SMALL, 400, 100, 3, steps=False))
    assert [each.rewards for each in told] == [100, 200, 300, 400]
    assert {each.window for each in told} == {60}
    assert {each.replay for each in told} == {40}
    assert [each.seen for each in told] == [100, 200, 240, 240]


def test_encoded_prompts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training keeps so many prompts and no more; the steps are taken."""
    monkeypatch.setattr(distil, "KEPT_PROMPTS", 6)
    kept: list[int] = []
    step = distil.Distiller.step

    def watched(self: distil.Distiller, *arguments: object) -> float:
        loss: float = step(self, *arguments)  # type: ignore[arg-type]  # as they come
        kept.append(len(self._prompts))
        return loss

    monkeypatch.setattr(distil.Distiller, "step", watched)
    [last] = played(SMALL, 400, 400, 3, steps=True)
    assert last.steps == len(kept) == 4
    assert max(kept) <= 6


def test_growth_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    """A tenth more at the end is growth; a small run prints a line per interval and passes."""
    flat = [Interval(n, 100.0, 1, 1, 1, 0) for n in range(9)]
    assert grown(flat, 0) == 1.0
    assert (
        grown([*flat[:6], *(structs.replace(each, resident_mib=110.0) for each in flat[6:])], 0) > updater_memory.GROWTH
    )
    assert (
        updater_memory.main(["--rewards", "200", "--window", "100", "--buffer", "100", "--every", "100", "--json"]) == 0
    )
    assert [json.loads(line)["rewards"] for line in capsys.readouterr().out.splitlines()] == [100, 200]
