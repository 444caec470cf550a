"""Texts by transformers' own server, on the CPU, of a tiny model made here; and the worker whose writer it is."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from msgspec import structs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from model.elsewhere.asking import Turn, raw_of, turns
from model.message import finish
from model.wording import compose
from services.local.stack import Endpoints
from services.settings import WorkerSettings, load
from services.settings_writer import WriterSettings
from services.worker import writer_of
from services.writer import RemoteTexts
from services.writer_client import WriterClient
from streaming.contracts.strategies import StrategyRequest
from tests.model.sample import request_of
from tests.services.worker_samples import Bench, patient
from tests.services.writer_samples import FRIENDLY, GOOD, say, serving

PATIENCE_S = 120.0
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
STEPS, BATCH, TONES = 150, 4, ("friendly", "urgent", "premium", "playful")


def chats() -> list[tuple[Turn, ...]]:
    """What recommendations of every tone ask."""
    rng = np.random.default_rng(0)
    return [turns(request_of(n), FRIENDLY | {"tone": TONES[n % 4]}, rng) for n in range(24)]


def text_of(chat: tuple[Turn, ...]) -> str:
    """A chat as the template renders it."""
    return "".join(f"<|{turn.role}|>{turn.content}" for turn in chat) + "<|assistant|>"


def tokenizer_of(texts: list[str]) -> Any:
    """Byte pairs of these texts."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    end = "<|end|>"
    special = [end, "<|system|>", "<|user|>", "<|assistant|>"]
    raw.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False))
    made: Any = PreTrainedTokenizerFast
    made = made(tokenizer_object=raw, eos_token=end, pad_token=end)
    made.chat_template = TEMPLATE
    return made


def make(folder: Path) -> Path:
    """A model that answers every chat with one text, a friendly one: learned by heart."""
    prompts = [text_of(chat) for chat in chats()]
    tokenizer = tokenizer_of([*prompts, GOOD])
    torch.manual_seed(0)
    kind: Any = LlamaForCausalLM  # transformers' classes have no typed constructors
    model = kind(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=2048, eos_token_id=0, pad_token_id=0, bos_token_id=None,
        )
    )  # fmt: skip
    answer = [*tokenizer.encode(GOOD), 0]
    optimiser = torch.optim.AdamW(model.parameters(), 4e-3)
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        rows = [tokenizer.encode(prompts[int(rng.integers(len(prompts)))])[-160:] + answer for _ in range(BATCH)]
        ids = torch.tensor([row[-160:] for row in rows])
        labels = ids.clone()
        labels[:, : -len(answer)] = -100
        loss = model(input_ids=ids, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.generation_config.eos_token_id = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Base URL and model, as transformers serves it."""
    folder = make(tmp_path_factory.mktemp("writer") / "tiny")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--cb-num-blocks", "64", "--cb-max-batch-tokens", "256"]
    environ = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder.parent)}
    log = (folder.parent / "log").open("wb")
    process = subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT)
    try:
        await_health(f"http://127.0.0.1:{port}/health", process, folder.parent / "log")
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def await_health(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers; its log when it never does."""
    over_s = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < over_s:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(log.read_text(errors="replace")[-3000:])


@pytest.mark.slow
def test_a_real_server_s_text_is_used_where_it_agrees_and_nowhere_else(served: tuple[str, str]) -> None:
    """The same words for every tone: used for the friendly decision, contradicted by the urgent one's slots."""
    client = WriterClient(served[0], model=served[1], key="", timeout_s=PATIENCE_S, temperature=0.7)
    answer = client.write(chats()[0])
    assert raw_of(answer) == GOOD, answer
    texts = RemoteTexts(client, wait_s=PATIENCE_S, concurrency=1, variants=1)
    try:
        decisions: list[dict[str, Any]] = [FRIENDLY, FRIENDLY | {"tone": "urgent"}]
        for decision, wanted in zip(decisions, (GOOD, ""), strict=True):
            found = texts.texts([request_of(1)], [decision], np.random.default_rng(0), time.monotonic() + PATIENCE_S)
            assert found == [wanted]
        message, checks = finish(GOOD, request_of(1), FRIENDLY)
        assert message.source == "model"
        assert all(check.passed for check in checks)
    finally:
        texts.close()


@pytest.fixture
def bench(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """An installation of the test's own."""
    environ = {
        "STRATAGEM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": stack.redis_url,
        "STRATAGEM_TOPIC_PREFIX": topic_prefix,
        "STRATAGEM_GROUP_PREFIX": topic_prefix,
        "STRATAGEM_HOME": str(tmp_path),
    }
    made = Bench(load(WorkerSettings, environ))
    yield made
    made.close()


def two_tones(seed: int) -> StrategyRequest:
    """A request of two contexts, so that the first batch asks for both: friendly or urgent, by chance."""
    few = {"channel": ("onsite",), "send_time": ("now",), "tone": ("friendly", "urgent")}
    request = patient(request_of(seed, arm="random"))
    slots = tuple(structs.replace(slot, values=few.get(slot.name, slot.values)) for slot in request.slots)
    return structs.replace(request, slots=slots, exclusions=())


@pytest.mark.slow
def test_the_worker_s_messages_come_from_the_real_server(bench: Bench, served: tuple[str, str]) -> None:
    """Through Kafka: friendly messages are the server's words, others templates; propensities are as ever, nothing is late."""
    environ = {
        "STRATAGEM_WRITER": f"openai:{served[0]}",
        "STRATAGEM_WRITER_WAIT_MS": "60000",
        "STRATAGEM_WRITER_MODEL": served[1],
    }
    writer = writer_of(load(WriterSettings, environ))
    assert writer is not None
    try:
        with bench.worker(writer=writer):
            for seed in range(16):
                bench.ask(two_tones(seed))
            answers = bench.strategies(16)
    finally:
        writer.close()
    by_source = {source: [a for a in answers if a.message.source == source] for source in ("model", "template")}
    assert {answer.decision["tone"] for answer in by_source["model"]} == {"friendly"}
    assert {answer.decision["tone"] for answer in by_source["template"]} == {"urgent"}
    assert not any(answer.policy.late for answer in answers)
    assert all(answer.propensity == pytest.approx(1.0 / answer.policy.actions) for answer in answers)
    body = GOOD.partition(" | ")[2]
    assert {answer.message.body for answer in by_source["model"]} == {body}


def test_a_server_that_hangs_holds_up_no_answer_past_its_deadline(bench: Bench) -> None:
    """While the server hangs, requests are answered by the language model in time, with templates: the bound is the deadline's."""
    let_go = threading.Event()

    def hang(*_: object) -> None:
        let_go.wait(PATIENCE_S)

    with serving(hang, wait_s=0.0) as (server, texts), bench.worker(writer=texts):
        bench.ask(patient(request_of(0, arm="lm")))
        bench.strategies(1)  # the worker has its partitions, and the server hangs
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(texts, "_wait_s", PATIENCE_S)
            bench.ask(structs.replace(request_of(1, arm="lm"), deadline_s=10.0))
            answers = bench.strategies(2)
        assert not let_go.is_set()
        assert server.asked
        assert {(answer.message.source, answer.policy.acting_arm) for answer in answers} == {("template", "lm")}
        let_go.set()
    with serving(say("nonsense")) as (_, texts), bench.worker(writer=texts):
        bench.ask(patient(request_of(2, arm="lm")))
        assert {answer.message.source for answer in bench.strategies(3)} == {"template"}


def test_examples_agree_with_their_decision() -> None:
    """What the tiny model learns by heart is a text that passes, and no other tone's."""
    assert compose("recommendation", "en", "session_start", FRIENDLY, None) == GOOD
    assert finish(GOOD, request_of(1), FRIENDLY | {"tone": "urgent"})[0].source == "template"
