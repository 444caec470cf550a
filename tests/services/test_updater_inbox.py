"""What an operator puts into the inbox: judged once, refused with its reason, never run."""

import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch

from model import adapter
from model.fresh import random_lm
from model.lm import LanguageModel
from services.local.stack import Endpoints
from services.updater_inbox import JUDGED, QUIET_S, check, inbox_of, waiting
from streaming.contracts.adapters import BASE_ALONE, Serving
from streaming.contracts.errors import BadEvent
from tests.model.closed import closed_rewards
from tests.services.updater_samples import Bench, quick_settings


@pytest.fixture
def bench(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """An installation of the test's own, with quick steps."""
    made = Bench(quick_settings(stack, topic_prefix, tmp_path))
    yield made
    made.close()


class Planted:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        """What to touch."""
        self._mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """The planted call."""
        return Path.touch, (str(self._mark),)


def adapter_of(lm: LanguageModel, folder: Path) -> Path:
    """A valid adapter of a base, as files."""
    adapter.attach(lm, ("slot_a",))
    adapter.save(lm, "slot_a", folder)
    return folder


def fill(inbox: Path, base: str, mark: Path) -> dict[str, str]:
    """Every sort of bad entry; name → what its refusal must say."""
    (inbox / "evil").mkdir(parents=True)
    (inbox / "evil" / adapter.TENSORS).write_bytes(b"not a safetensors file")
    (inbox / "a-file").write_bytes(b"")
    adapter_of(random_lm(3, width=64, layers=2), inbox / "wider")
    adapter_of(random_lm(4, width=32, layers=2), inbox / "other")
    forged = adapter_of(random_lm(3, width=64, layers=2), inbox / "forged")
    own = LanguageModel.load(base, "cpu")
    facts = adapter.Facts(own.name, own.base_sha256)
    (forged / adapter.FACTS).write_bytes(msgspec.json.encode(facts))
    adapter_of(own, inbox / "pickled")
    (inbox / "pickled" / "adapter_model.bin").write_bytes(pickle.dumps(Planted(mark)))
    renamed = adapter_of(LanguageModel.load(base, "cpu"), inbox / "renamed")
    torch.save({"weights": Planted(mark)}, renamed / adapter.TENSORS)
    return {
        "evil": "the adapter's facts",
        "a-file": "a folder with an adapter's files",
        "wider": "base_sha256: got",
        "other": "base_sha256: got",
        "forged": "got torch.float32 (16, 128), wanted torch.float32 (16, 64)",
        "pickled": "files: got adapter_model.bin, wanted one of",
        "renamed": "a safetensors file",
    }


def test_each_bad_entry_is_refused_with_its_reason(bench: Bench, tmp_path: Path) -> None:
    """Corrupt, made for another base, a pickle: the gate's refusal is on `model.decisions`, and nothing of it runs or is served."""
    mark = tmp_path / "was-run"
    bench.say(closed_rewards(300)[:60])
    wanted = fill(inbox_of(bench.settings), bench.settings.base_model, mark)

    def refusals() -> dict[str, str]:
        return {d.version: d.reason for d in bench.decisions() if d.by == "operator" and d.decision == "refused"}

    with bench.running() as thread:
        bench.until(lambda: len(refusals()) >= len(wanted), "all refusals", thread.is_alive)
        time.sleep(1.5)  # long enough to be judged again, were it still there
    said = refusals()
    assert set(said) == {f"inbox-{name}" for name in wanted}
    for name, reason in wanted.items():
        assert reason in said[f"inbox-{name}"], name
    assert len([d for d in bench.decisions() if d.by == "operator"]) == len(wanted)
    assert not mark.exists()
    assert all(r.champion == BASE_ALONE for r in bench.announced() if isinstance(r, Serving))
    assert [path.name for path in inbox_of(bench.settings).iterdir()] == [JUDGED]


def test_an_entry_still_being_copied_waits(tmp_path: Path) -> None:
    """Only what has not changed for a while is judged; hidden entries never are."""
    entry = tmp_path / "new"
    entry.mkdir()
    (tmp_path / ".partial").mkdir()
    at_s = entry.stat().st_mtime
    assert list(waiting(tmp_path, at_s + QUIET_S / 2)) == []
    assert list(waiting(tmp_path, at_s + 2 * QUIET_S)) == [entry]
    assert list(waiting(tmp_path / "absent", at_s)) == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link to a folder, or a link inside one, is refused before a byte of it is read."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "secret.json").symlink_to("/etc/hostname")
    for name in ("link", "real"):
        with pytest.raises(BadEvent, match="files"):
            check(tmp_path / name)
