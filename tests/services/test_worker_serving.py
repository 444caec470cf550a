"""What is announced, what is loaded, what is served; without Kafka."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import torch

from model import adapter
from model.critic import TENSORS as CRITIC_TENSORS
from model.critic import Critic
from model.fresh import random_lm
from model.lm import LanguageModel
from model.registry import Registry
from services import metrics
from services.deciding import Ready
from services.following import Announced
from services.worker_following import Loader
from services.worker_sending import Stopped, patiently
from services.worker_serving import ROLES, Change, Loaded, ServingTable
from streaming.contracts.adapters import Serving, Version
from streaming.contracts.codec import encode
from streaming.contracts.errors import BadEvent, Unavailable
from streaming.contracts.ids import stable_unit
from streaming.reward import Formula
from tests.model.sample import request_of

AT = datetime(2026, 3, 2, tzinfo=UTC)


def serving(sequence: int, epoch: int = 0, **roles: object) -> Serving:
    """A record `serving`; everything not named is empty."""
    whole: dict[str, object] = {
        "epoch": epoch, "sequence": sequence, "champion": "base", "anchor": "", "canary": "", "critic": "",
        "salts": {}, "anchor_share": 0.0, "decided_at": AT,
    }  # fmt: skip
    return msgspec.convert({**whole, **roles}, Serving)


@pytest.fixture
def lm() -> LanguageModel:
    """A tiny base with its slots."""
    model = random_lm(7, width=32, layers=2)
    adapter.attach(model)
    return model


def critic(seed: int = 0) -> Critic:
    """A critic before any data."""
    return Critic.prior(seed, 2, Formula())


def loaded(lm: LanguageModel, name: str, seed: int = 1) -> Loaded:
    """An adapter that changes something."""
    generator = torch.Generator().manual_seed(seed)
    shapes = adapter.expected(lm).shapes
    tensors = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    return Loaded(name, 0.5, adapter.block_of(tensors))


def test_lower_epochs_and_sequences_are_ignored() -> None:
    """An operator's act raises the epoch: what the updater says within the old one no longer counts."""
    said = Announced()
    assert said.take(b"serving", encode(serving(5)))
    assert not said.take(b"serving", encode(serving(5)))
    assert not said.take(b"serving", encode(serving(4)))
    assert said.take(b"serving", encode(serving(1, epoch=1)))
    assert not said.take(b"serving", encode(serving(9, epoch=0)))
    assert said.serving is not None
    assert (said.serving.epoch, said.serving.sequence) == (1, 1)


def test_tombstones_remove_versions_and_strangers_are_refused() -> None:
    """A version with a tombstone is no longer known; what is neither version nor serving names its field."""
    said = Announced()
    version = Version("adapter-000001-aaaaaaaa", "adapter", "", "", "", "", "", AT, {}, {})
    said.take(version.name.encode(), encode(version))
    assert version.name in said.versions
    said.take(version.name.encode(), None)
    assert not said.versions
    with pytest.raises(BadEvent):
        said.take(b"serving", b'{"record":"serving","epoch":"one"}')


def test_the_base_is_served_until_told_otherwise(lm: LanguageModel) -> None:
    """With no announcement the language model has no weight in the fused arm."""
    table = ServingTable(lm, critic())
    assert table.version_for(request_of(1)) == "base"
    assert table.knobs("base", 0.4).lm_weight == 0.0


def test_roles_are_stable_shares_of_customers(lm: LanguageModel) -> None:
    """About the announced share is served the anchor, the same customers each time, in model arms only."""
    table = ServingTable(lm, critic())
    both = serving(1, champion="new", anchor="old", salts={"anchor": "salt-1"}, anchor_share=0.25)
    table.apply(Change(both, (loaded(lm, "new"), loaded(lm, "old", 2)), None, {}))
    served = {seed: table.version_for(request_of(seed)) for seed in range(2000)}
    share = sum(version == "old" for version in served.values()) / len(served)
    assert 0.2 < share < 0.3
    assert served == {seed: table.version_for(request_of(seed)) for seed in range(2000)}
    assert {table.version_for(request_of(seed, arm="random")) for seed in range(50)} == {"new"}
    assert table.knobs("new", 0.4).lm_weight == 0.5


def test_canary_and_anchor_have_each_its_share_and_the_canary_comes_first(lm: LanguageModel) -> None:
    """Two salts, two shares; whom both treat gets the canary; a share that is not announced is nobody's."""
    table = ServingTable(lm, critic())
    salts = {"anchor": "salt-1", "canary": "salt-2"}
    roles = serving(1, champion="new", anchor="old", canary="other", salts=salts, anchor_share=0.25, canary_share=0.4)
    three = tuple(loaded(lm, name, seed) for seed, name in enumerate(("new", "old", "other")))
    table.apply(Change(roles, three, None, {}))
    requests = [request_of(seed) for seed in range(2000)]
    for request in requests:
        tried, held = (stable_unit(salt, request.user_id) for salt in ("salt-2", "salt-1"))
        assert table.version_for(request) == ("other" if tried < 0.4 else "old" if held < 0.25 else "new")
    table.apply(Change(msgspec.structs.replace(roles, sequence=2, canary_share=0.0), (), None, {}))
    assert {table.version_for(request) for request in requests} == {"new", "old"}


def test_a_refused_version_leaves_its_role_as_it_was(lm: LanguageModel) -> None:
    """Without its tensors a champion cannot be served: the former one stays, and the critic still changes."""
    table = ServingTable(lm, critic())
    table.apply(Change(serving(1, champion="v1"), (loaded(lm, "v1"),), None, {}))
    swapped = table.apply(Change(serving(2, champion="v2"), (), Ready(critic(5)), {"v2": "corrupt"}))
    assert table.champion == "v1"
    assert swapped.placed == ()
    assert table.critic.version == critic(5).version


def test_many_versions_pass_through_five_slots(lm: LanguageModel) -> None:
    """Old versions make room; a version that is still resident is not copied again."""
    table = ServingTable(lm, critic())
    for number in range(12):
        swapped = table.apply(Change(serving(number, champion=f"v{number}"), (loaded(lm, f"v{number}"),), None, {}))
        assert swapped.placed == (f"v{number}",)
        assert table.slots.slot_of(f"v{number}") in adapter.SLOTS
    assert table.apply(Change(serving(12, champion="v11"), (loaded(lm, "v11"),), None, {})).placed == ()
    assert table.champion == "v11"
    table.apply(Change(serving(13, champion="base"), (), None, {}))
    assert table.champion == "base"


def test_a_switch_only_copies_and_turns_pointers(lm: LanguageModel, tmp_path: Path) -> None:
    """What the following thread hands over is staged: one block of memory, a critic whose products are made."""
    registry = Registry(str(tmp_path / "registry"), tmp_path / "cache")
    adapter.save(lm, "slot_a", tmp_path / "a")
    critic(3).save(tmp_path / "c")
    good = _published(registry, tmp_path / "a", "adapter", 1, lm.base_sha256)
    snapshot = _published(registry, tmp_path / "c", "critic", 1, "")
    loader = Loader(registry, adapter.expected(lm), lm.device, Formula())
    wanted = serving(1, champion=good.name, critic=snapshot.name)
    change = loader.change(wanted, {good.name: good, snapshot.name: snapshot})
    block = change.adapters[0].block
    assert block.is_contiguous()
    assert (block.dtype, block.device) == (next(iter(adapter.parameters(lm, "slot_a").values())).dtype, lm.device)
    assert change.critic is not None
    ready = change.critic.critic
    assert {"stacked", "mean"} <= vars(ready).keys()
    assert "stacked" in vars(ready.mean)
    table = ServingTable(lm, critic())
    slot = table.slots.free({good.name})
    assert table.apply(change).stall_s > 0.0
    assert table.critic is change.critic.critic
    assert table.slots.slot_of(good.name) == slot
    assert slot is not None
    assert torch.equal(adapter.block_of(adapter.parameters(lm, slot)), block)


def test_a_slot_in_use_is_not_overwritten(lm: LanguageModel) -> None:
    """While requests are admitted to every other slot, new versions rotate through the one that is free."""
    table = ServingTable(lm, critic())
    for number in range(4):
        table.apply(Change(serving(number, champion=f"v{number}"), (loaded(lm, f"v{number}"),), None, {}))
        table.slots.admit(f"v{number}")
    held = dict(table.slots.resident())
    for number in range(4, 8):
        table.apply(Change(serving(number, champion=f"v{number}"), (loaded(lm, f"v{number}"),), None, {}))
    assert {slot: version for slot, version in table.slots.resident().items() if slot in held} == held


def _published(registry: Registry, folder: Path, what: str, sequence: int, base_sha256: str) -> Version:
    tensors = adapter.TENSORS if what == "adapter" else CRITIC_TENSORS
    return registry.publish(
        what,  # type: ignore[arg-type]
        sequence, folder, tensors=tensors, base="b", base_sha256=base_sha256, parent="base", created_at=AT,
        offsets={}, metrics={},
    )  # fmt: skip


def test_foreign_unknown_and_misfit_versions_are_refused_once(lm: LanguageModel, tmp_path: Path) -> None:
    """Another base, a name nobody announced: each counted under its own reason, once, and never tried again."""
    registry = Registry(str(tmp_path / "registry"), tmp_path / "cache")
    adapter.save(lm, "slot_a", tmp_path / "a")
    foreign = _published(registry, tmp_path / "a", "adapter", 1, "0" * 64)
    good = _published(registry, tmp_path / "a", "adapter", 2, lm.base_sha256)
    critic(3).save(tmp_path / "c")
    snapshot = _published(registry, tmp_path / "c", "critic", 1, "")
    versions = {version.name: version for version in (foreign, good, snapshot)}
    loader = Loader(registry, adapter.expected(lm), lm.device, Formula())
    counts = {reason: metrics.ADAPTERS_REFUSED.labels(reason)._value.get() for reason in ("other_base", "unknown")}
    wanted = serving(1, champion=foreign.name, anchor=good.name, canary="adapter-000009-00000000", critic=snapshot.name)
    for _ in range(2):
        change = loader.change(wanted, versions)
        assert set(change.refused) == {foreign.name, "adapter-000009-00000000"}
    for reason, before in counts.items():
        assert metrics.ADAPTERS_REFUSED.labels(reason)._value.get() == before + 1
    assert change.adapters == ()  # the good one was loaded by the first change
    first = Loader(registry, adapter.expected(lm), lm.device, Formula()).change(wanted, versions)
    assert [one.version for one in first.adapters] == [good.name]
    assert first.critic is not None
    assert first.critic.critic.version == snapshot.name


def test_patience_counts_and_ends_when_asked() -> None:
    """What is unavailable is tried again and counted; a stop ends the waiting."""
    stop, tries = threading.Event(), []
    before = metrics.REDIS_ERRORS.labels("test")._value.get()

    def third_time() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise Unavailable("not yet")
        return "done"

    assert patiently(third_time, "redis", "test", stop) == "done"
    assert metrics.REDIS_ERRORS.labels("test")._value.get() == before + 2

    def never() -> None:
        stop.set()
        raise Unavailable("never")

    with pytest.raises(Stopped):
        patiently(never, "redis", "test", stop)


def test_roles_are_fields_of_the_contract() -> None:
    """Every role the table serves is a field of `Serving`."""
    assert set(ROLES) <= set(Serving.__struct_fields__)
