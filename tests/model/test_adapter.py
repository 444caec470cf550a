"""LoRA adapters: slots, files and what is refused."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from model import adapter
from model.fresh import new_base, random_lm
from model.lm import LanguageModel
from streaming.contracts.errors import BadEvent
from tests.model.sample import request_of

WIDTH, LAYERS = 32, 2


def small_lm() -> LanguageModel:
    """A tiny base without slots, always the same."""
    return random_lm(1, width=WIDTH, layers=LAYERS)


@pytest.fixture
def lm() -> LanguageModel:
    """A tiny base with all its resident slots."""
    model = small_lm()
    adapter.attach(model)
    return model


def tuned(model: LanguageModel, seed: int) -> dict[str, torch.Tensor]:
    """Tensors of an adapter that changes something: both halves drawn."""
    generator = torch.Generator().manual_seed(seed)
    shapes = adapter.expected(model).shapes
    return {key: torch.randn(shape, generator=generator) * 0.3 for key, shape in shapes.items()}


def log_probs(model: LanguageModel, slot: str | None) -> torch.Tensor:
    """All slots' log-probabilities of one decision under a slot."""
    requests = [request_of(3)]
    decision = {slot.name: slot.values[0] for slot in requests[0].slots}
    prompts = model.encode(requests)
    with torch.no_grad(), model.use_adapter(slot):
        return torch.cat(model.slot_log_probs(prompts, requests, [decision])[0])


def test_no_slot_is_a_substring_of_another() -> None:
    """Peft's hot swap matches by substring; fixed names cannot meet, and others are refused."""
    assert not [(a, b) for a in adapter.SLOTS for b in adapter.SLOTS if a != b and a in b]
    with pytest.raises(ValueError, match="substring"):
        adapter.attach(small_lm(), ("v1", "v10"))


def test_a_fresh_slot_is_the_base(lm: LanguageModel) -> None:
    """B is zero: before anything is placed, every slot gives the base's log-probabilities."""
    for slot in adapter.SLOTS:
        assert adapter.expected(lm, slot) == adapter.expected(lm)
        torch.testing.assert_close(log_probs(lm, slot), log_probs(lm, None), rtol=0, atol=0)


def test_placing_changes_one_slot_and_nothing_else(lm: LanguageModel) -> None:
    """A swap touches its slot alone: not its neighbours, not the base, not the prompt's memory."""
    base, prompt = log_probs(lm, None), lm.encode([request_of(3)]).memory
    adapter.place(lm, "slot_b", tuned(lm, 1))
    changed = log_probs(lm, "slot_b")
    assert (changed - base).abs().max() > 1e-3
    adapter.place(lm, "slot_c", tuned(lm, 2))
    torch.testing.assert_close(log_probs(lm, "slot_b"), changed, rtol=0, atol=0)
    torch.testing.assert_close(log_probs(lm, "slot_a"), base, rtol=0, atol=0)
    torch.testing.assert_close(log_probs(lm, None), base, rtol=0, atol=0)
    torch.testing.assert_close(lm.encode([request_of(3)]).memory, prompt, rtol=0, atol=0)


def test_what_is_saved_is_read_and_placed_alike(lm: LanguageModel, tmp_path: Path) -> None:
    """Save, read, place into another slot: the same log-probabilities to the last bit."""
    adapter.place(lm, "slot_a", tuned(lm, 5))
    adapter.save(lm, "slot_a", tmp_path)
    adapter.place(lm, "slot_d", adapter.read(tmp_path, adapter.expected(lm), lm.device))
    torch.testing.assert_close(log_probs(lm, "slot_d"), log_probs(lm, "slot_a"), rtol=0, atol=0)


def test_a_packed_slot_is_swapped_by_one_copy(lm: LanguageModel) -> None:
    """Packing changes nothing that the slot says; copying a block into it is placing its tensors."""
    adapter.place(lm, "slot_a", tuned(lm, 5))
    adapter.place(lm, "slot_b", tuned(lm, 6))
    before = log_probs(lm, "slot_b")
    block = adapter.Block(lm, "slot_b")
    torch.testing.assert_close(log_probs(lm, "slot_b"), before, rtol=0, atol=0)
    block.copy_(adapter.block_of(tuned(lm, 5)))
    torch.testing.assert_close(log_probs(lm, "slot_b"), log_probs(lm, "slot_a"), rtol=0, atol=0)
    adapter.place(lm, "slot_b", tuned(lm, 6))
    torch.testing.assert_close(log_probs(lm, "slot_b"), before, rtol=0, atol=0)


def test_peft_reads_our_files(lm: LanguageModel, tmp_path: Path) -> None:
    """The directory is an ordinary peft adapter: loaded by peft on a fresh base it gives the same logits."""
    adapter.place(lm, "slot_a", tuned(lm, 5))
    adapter.save(lm, "slot_a", tmp_path)
    base, _ = new_base(lm.spelling.tokenizer, 1, width=WIDTH, layers=LAYERS)
    base.eval()  # type: ignore[no-untyped-call]  # transformers' own lack
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(base, str(tmp_path))(ids).logits
        with lm.use_adapter("slot_a"):
            ours = lm.causal(ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_attaching_repeats_by_seed_and_leaves_the_generator_alone() -> None:
    """Two attachments with one seed give the same random halves; torch's own generator does not move."""
    before = torch.random.get_rng_state()
    first, second = small_lm(), small_lm()
    for model in (first, second):
        adapter.attach(model, (adapter.TRAINING_SLOT,), seed=9)
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, other in zip(
        adapter.parameters(first, adapter.TRAINING_SLOT).values(),
        adapter.parameters(second, adapter.TRAINING_SLOT).values(),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_threads_attach_one_after_the_other() -> None:
    """Updater and worker of one process: no warning of peft's escapes, and the random halves are as of a thread alone."""
    models = [small_lm() for _ in range(6)]
    with ThreadPoolExecutor(len(models)) as pool:
        done = [pool.submit(adapter.attach, model, adapter.SLOTS, 9) for model in models]
    assert [future.exception() for future in done] == [None] * len(models)
    alone = small_lm()
    adapter.attach(alone, adapter.SLOTS, 9)
    for model in models:
        for slot in adapter.SLOTS:
            wanted = adapter.parameters(alone, slot).values()
            assert all(map(torch.equal, adapter.parameters(model, slot).values(), wanted))


def test_training_a_slot_leaves_the_base_as_it_was() -> None:
    """One optimiser step on the slot's parameters moves it and no weight of the base."""
    model = small_lm()
    adapter.attach(model, (adapter.TRAINING_SLOT,))
    frozen = {name: p.clone() for name, p in model.causal.named_parameters() if "lora_" not in name}
    trained = list(adapter.parameters(model, adapter.TRAINING_SLOT).values())
    for parameter in trained:
        parameter.requires_grad_()
    requests = [request_of(3)]
    decision = {slot.name: slot.values[0] for slot in requests[0].slots}
    optimiser = torch.optim.SGD(trained, lr=1.0)
    before = log_probs(model, adapter.TRAINING_SLOT)
    with model.use_adapter(adapter.TRAINING_SLOT):
        rows = model.slot_log_probs(model.encode(requests), requests, [decision])[0]
        loss = -torch.stack([row[0] for row in rows]).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own lack
    optimiser.step()
    assert (log_probs(model, adapter.TRAINING_SLOT) - before).abs().max() > 1e-6
    for name, parameter in model.causal.named_parameters():
        if "lora_" not in name:
            assert torch.equal(parameter, frozen[name])


def _truncate(directory: Path) -> None:
    path = directory / adapter.TENSORS
    path.write_bytes(path.read_bytes()[:-200])


def _garble(directory: Path) -> None:
    (directory / adapter.TENSORS).write_bytes(b"\xff" * 4096)


def _other_base(directory: Path) -> None:
    facts = json.loads((directory / adapter.FACTS).read_text())
    (directory / adapter.FACTS).write_text(json.dumps({**facts, "base_sha256": "0" * 64}))


def _edit(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        tensors = load_file(directory / adapter.TENSORS)
        change(tensors)
        save_file(tensors, directory / adapter.TENSORS)

    return spoil


def _first(tensors: dict[str, torch.Tensor]) -> str:
    return min(tensors)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_truncate, "a safetensors file"),
        (_garble, "a safetensors file"),
        (_other_base, "base_sha256: got 000"),
        (lambda directory: (directory / adapter.FACTS).unlink(), "the adapter's facts"),
        (lambda directory: (directory / adapter.TENSORS).unlink(), "a file of at most"),
        (_edit(lambda t: t.pop(_first(t))), "exactly the tensors"),
        (_edit(lambda t: t.update(extra=torch.zeros(1))), "extra: got a tensor"),
        (_edit(lambda t: t.update({_first(t): torch.zeros(3, 3)})), r"\(3, 3\), wanted torch.float32"),
        (_edit(lambda t: t.update({_first(t): t[_first(t)].half()})), "torch.float16"),
        (_edit(lambda t: t[_first(t)].fill_(float("nan"))), "got not finite"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    lm: LanguageModel, tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    """Corrupt, foreign, missing, extra, misshapen and not finite: each refusal says what was wrong."""
    adapter.save(lm, "slot_a", tmp_path)
    spoil(tmp_path)
    with pytest.raises(BadEvent, match=reason):
        adapter.read(tmp_path, adapter.expected(lm))


def test_a_base_without_slots_expects_nothing() -> None:
    """Asking what fits before attaching is our mistake, said at once."""
    with pytest.raises(KeyError):
        adapter.expected(small_lm())
