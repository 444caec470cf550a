"""Exact slot probabilities: batch sizes, sessions, tokenizers and adapters agree."""

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from model import adapter
from model.batch import PromptBatch, join
from model.corpus import compose
from model.fresh import random_lm
from model.lm import LanguageModel
from model.pointer import Pointer
from streaming.contracts.kinds import CHANNELS
from streaming.contracts.strategies import StrategyRequest
from tests.model.composed import any_decision, bytes_lm, requests

TOLERANCE_NATS = 1e-4
Decision = dict[str, str]


@pytest.fixture(scope="module", params=["own", "bytes"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    """Our own shape with single-token values, and a foreign base with multi-token ones."""
    return random_lm(1, width=32, layers=2) if request.param == "own" else bytes_lm()


def asked(count: int) -> tuple[list[StrategyRequest], list[Decision]]:
    """Requests of all kinds with a decision each."""
    made, rng = requests(count), np.random.default_rng(2)
    return made, [any_decision(each, rng) for each in made]


def flat(per_slot: list[list[torch.Tensor]]) -> np.ndarray:
    """All log-probabilities in one row."""
    return torch.cat([values for slots in per_slot for values in slots]).detach().numpy()


def test_batch_of_one_equals_batch_of_many(lm: LanguageModel) -> None:
    """Padding and company do not change a request's log-probabilities."""
    made, decisions = asked(8)
    together = lm.slot_log_probs(lm.encode(made), made, decisions)
    alone = [lm.slot_log_probs(lm.encode([r]), [r], [d])[0] for r, d in zip(made, decisions, strict=True)]
    assert np.abs(flat(together) - flat(alone)).max() < TOLERANCE_NATS


def test_session_repeats_the_teacher_forced_pass(lm: LanguageModel) -> None:
    """Decoding step by step gives what one packed pass gives, also when kinds are mixed."""
    made, decisions = asked(8)
    forced = lm.slot_log_probs(lm.encode(made), made, decisions)
    session, depth = lm.session(lm.encode(made), made), 0
    while not session.done:
        for row, logs in enumerate(session.log_probs()):
            if depth < len(made[row].slots):
                assert np.abs(logs - forced[row][depth].numpy()).max() < TOLERANCE_NATS
            else:
                assert len(logs) == 0
        session.choose(
            [
                r.slots[depth].values.index(d[r.slots[depth].name]) if depth < len(r.slots) else 0
                for r, d in zip(made, decisions, strict=True)
            ]
        )
        depth += 1
    assert session.decisions == decisions


def test_every_slot_is_a_distribution_over_its_values(lm: LanguageModel) -> None:
    """Each slot's probabilities sum to one over exactly the allowed values."""
    made, decisions = asked(8)
    for request, slots in zip(made, lm.slot_log_probs(lm.encode(made), made, decisions), strict=True):
        assert [len(values) for values in slots] == [len(slot.values) for slot in request.slots]
        for values in slots:
            assert float(values.exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_multi_token_values_are_products_of_sibling_choices() -> None:
    """By hand: p(value) is the product, along its bytes, of a softmax over the bytes that may follow."""
    lm = bytes_lm()
    request = next(r for r in requests(8) if r.kind == "recommendation")
    decision = any_decision(request, np.random.default_rng(0))
    prompts = lm.encode([request])
    product, channel = request.slots[0], request.slots[1]
    got = lm.slot_log_probs(prompts, [request], [decision])[0][1]
    place = product.values.index(decision["product"])
    paths = [lm.spelling.value_path(CHANNELS, value) for value in channel.values]
    ids, spans = lm.spelling.prompt(request)
    before = [*ids, *lm.spelling.start, *lm.spelling.slot("product"), *lm.spelling.tag(place)]
    after = lm.spelling.slot("channel")
    for value, path in enumerate(paths):
        tokens = torch.tensor([[*before, *after, *path]])
        embedded = lm.backbone.get_input_embeddings()(tokens).clone()
        embedded[0, len(before) - 1] += prompts.pooled[0, place] @ lm.pointer.echo
        logits = lm.causal(inputs_embeds=embedded).logits[0]
        log = 0.0
        for depth, token in enumerate(path):
            siblings = sorted({other[depth] for other in paths if other[:depth] == path[:depth]})
            row = logits[len(before) + len(after) - 1 + depth]
            log += float(row[token] - row[siblings].logsumexp(0))
        assert float(got[value]) == pytest.approx(log, abs=TOLERANCE_NATS)
    assert max(len(path) for path in paths) > 1
    assert len(spans) == len(request.candidates)


def test_pooled_states_follow_the_text() -> None:
    """The first candidate's pooled state depends on its own text and on nothing that comes later."""
    lm = random_lm(1, width=32, layers=2)
    one = compose(np.random.default_rng(4), "recommendation", candidates=(3, 3)).request
    first, second, third = one.candidates
    renamed = msgspec.structs.replace(
        one, candidates=(first, msgspec.structs.replace(second, name="whole milk"), third)
    )
    before, after = (lm.encode([r]).pooled[0] for r in (one, renamed))
    assert float((before[0] - after[0]).abs().max()) < TOLERANCE_NATS
    assert float((before[1] - after[1]).abs().max()) > 0.01


def test_rows_and_join_keep_every_prompt(lm: LanguageModel) -> None:
    """Prompts cut out of one batch and joined to another give the same log-probabilities."""
    made, decisions = asked(6)
    whole = lm.encode(made)
    order = [4, 1, 0]
    mixed = join([whole.rows([4, 1]), lm.encode([made[0]])])
    expected = lm.slot_log_probs(whole, made, decisions)
    got = lm.slot_log_probs(mixed, [made[i] for i in order], [decisions[i] for i in order])
    assert np.abs(flat(got) - flat([expected[i] for i in order])).max() < TOLERANCE_NATS


def test_compact_prompts_are_half_the_size(lm: LanguageModel) -> None:
    """float16 prompts halve the bytes and move log-probabilities by little."""
    made, decisions = asked(4)
    whole: PromptBatch = lm.encode(made)
    assert whole.compact().nbytes * 2 == whole.nbytes
    exact, rough = (flat(lm.slot_log_probs(p, made, decisions)) for p in (whole, whole.compact()))
    assert np.abs(exact - rough).max() < 0.02


def test_adapters_act_on_the_suffix_only() -> None:
    """An adapter changes decisions, not prompts; without it the base is what it was, and its hash too."""
    lm, plain = random_lm(1, width=32, layers=2), random_lm(1, width=32, layers=2)
    made, decisions = asked(4)
    bare = flat(lm.slot_log_probs(lm.encode(made), made, decisions))
    adapter.attach(lm, ("slot_x",))
    for parameter in adapter.parameters(lm, "slot_x").values():
        torch.nn.init.normal_(parameter, std=0.3)
    with lm.use_adapter("slot_x"):
        prompts = lm.encode(made)
        adapted = flat(lm.slot_log_probs(prompts, made, decisions))
    with lm.use_adapter(None):
        again = flat(lm.slot_log_probs(prompts, made, decisions))
    assert torch.equal(prompts.memory, plain.encode(made).memory)
    assert np.abs(adapted - bare).max() > 0.01
    assert np.abs(again - bare).max() < TOLERANCE_NATS
    assert lm.base_sha256 == plain.base_sha256


def test_gradients_reach_the_adapter_alone() -> None:
    """Training through a prompt moves LoRA parameters and nothing of the base."""
    lm = random_lm(1, width=32, layers=2)
    made, decisions = asked(4)
    adapter.attach(lm, ("slot_x",))
    inner = list(adapter.parameters(lm, "slot_x").values())
    for parameter in inner:
        parameter.requires_grad = True
    with lm.use_adapter("slot_x"):
        total = lm.slot_log_prob_table(lm.encode(made), made, decisions)[:, 0].sum()
        total.backward()  # type: ignore[no-untyped-call]  # torch's own lack
    assert any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in inner)
    others = [p for name, p in lm.causal.named_parameters() if "lora_" not in name]
    assert all(p.grad is None for p in itertools.chain(others, lm.pointer.parameters()))


def test_an_adapter_without_layers_is_refused() -> None:
    """Naming an adapter on a bare base is an error that names it."""
    lm = random_lm(1, width=32, layers=1)
    with pytest.raises(KeyError, match="slot_q"), lm.use_adapter("slot_q"):
        pass


def test_a_saved_base_loads_as_it_was(tmp_path: Path) -> None:
    """By path: same weights, tokenizer, pointer, hash and log-probabilities; without a pointer all candidates are alike."""
    lm = random_lm(1, width=32, layers=2)
    lm.causal.save_pretrained(tmp_path)
    lm.spelling.tokenizer.save_pretrained(tmp_path)
    lm.pointer.save(tmp_path)
    loaded = LanguageModel.load(str(tmp_path), "cpu")
    made, decisions = asked(3)
    pairs = [flat(each.slot_log_probs(each.encode(made), made, decisions)) for each in (lm, loaded)]
    assert np.abs(pairs[0] - pairs[1]).max() < TOLERANCE_NATS
    assert loaded.base_sha256 == lm.base_sha256
    (tmp_path / "pointer.safetensors").unlink()
    bare = LanguageModel.load(str(tmp_path), "cpu")
    first = bare.slot_log_probs(bare.encode(made), made, decisions)[0][0]
    assert float(first.max() - first.min()) < TOLERANCE_NATS


def test_a_foreign_pointer_is_refused(tmp_path: Path) -> None:
    """A pointer of another width is named and refused."""
    Pointer(8).save(tmp_path)
    with pytest.raises(ValueError, match=r"pointer\.safetensors"):
        Pointer.load(tmp_path, 32)
