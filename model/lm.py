"""The language model room's door: a frozen base of transformers, LoRA on the suffix, exact slot probabilities.

Prompts are encoded by the base without adapters, so their keys and values stay valid across swaps and are shared by all
arms (the idea of activated LoRA, arXiv 2504.12397). Only what follows the prompt sees the active adapters, one for all rows
of a batch or one per row.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils import logging as transformers_logging

from model.active import ActiveAdapters
from model.batch import PromptBatch, Room
from model.encoding import encoded, read_whole
from model.identity import default_base, sha256_of
from model.lean import LeanBackbone
from model.pointer import Pointer
from model.prefixes import PrefixCache
from model.scoring import slot_table
from model.spelling import Spelling
from model.suffix import ROOT, Pack
from streaming.contracts.strategies import StrategyRequest, grammar_of

if TYPE_CHECKING:
    from model.session import DecodeSession

Decision = Mapping[str, str]


class LanguageModel:
    """A causal LM that decides and writes. One thread at a time; adapters are loaded into its layers by `adapter.py`.

    Attributes:
        prefixes: beginnings of prompts that were read before, to be set once the base's weights change no more; None: none are kept.
    """

    def __init__(self, causal: Any, tokenizer: Any, pointer: Pointer, name: str) -> None:
        """Join the parts and freeze them.

        Args:
            causal: a causal LM of transformers, on its device.
            tokenizer: its fast tokenizer.
            pointer: P, moved to the model's device.
            name: what strategies call this base, together with its hash.
        """
        self.causal = causal.eval().requires_grad_(requires_grad=False)
        self.backbone = causal.base_model
        self.spelling = Spelling(tokenizer)
        self.device: torch.device = causal.device
        self.dtype: torch.dtype = causal.dtype
        self.pointer = pointer.to(self.device, self.dtype).requires_grad_(requires_grad=False)
        self.name = name
        self.prefixes: PrefixCache | None = None
        self._active = ActiveAdapters(self.backbone)

    @cached_property
    def base_sha256(self) -> str:
        """Hash of everything that shapes a log-probability of this base."""
        return sha256_of(self.causal, self.spelling.tokenizer, self.pointer)

    @classmethod
    def load(cls, source: str = "", device: str = "auto") -> "LanguageModel":
        """A base by name or path; empty: the one that ships. Only safetensors are read, and no code of the base's."""
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # its bars would break into logs
        at: str | Path = source or default_base()
        causal: Any = AutoModelForCausalLM.from_pretrained(
            at, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(at, trust_remote_code=False)
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        directory = Path(at) if Path(at).is_dir() else None
        pointer = Pointer.load(directory, causal.get_input_embeddings().embedding_dim)
        return cls(causal.to(where), tokenizer, pointer, source or "stratagem-base")

    @torch.no_grad()
    def encode(self, requests: Sequence[StrategyRequest]) -> PromptBatch:
        """Prompts through the frozen base, adapters off; what they begin with is read once, where `prefixes` keeps it.

        Padded on the right; padding is never attended to.
        """
        return encoded(self, [self.spelling.prompt(request) for request in requests])

    def read(self, requests: Sequence[StrategyRequest]) -> tuple[PromptBatch, Tensor, Tensor]:
        """The same with its (B, L, D) states and (B, L) tokens, differentiable in the base: pretraining's way in."""
        return read_whole(self, [self.spelling.prompt(request) for request in requests])

    def forward(self, embeddings: Tensor, positions: Tensor, sees: Tensor, cache: DynamicCache | Room | None) -> Tensor:
        """New nodes through the backbone.

        Args:
            embeddings: (B, T, D) of the new nodes.
            positions: (B, T).
            sees: (B, T, K + T) bool over what the cache holds and the new nodes.
            cache: extended in place; None when nothing comes before or after. A `Room` where there is a lean pass.

        Returns:
            (B, T, D) final states.
        """
        if self.lean is not None:
            return self.lean.forward(embeddings, positions, sees, cache, self._active.routes)
        mask = torch.zeros(sees.shape, dtype=self.dtype, device=self.device)
        mask = mask.masked_fill(~sees, torch.finfo(self.dtype).min)[:, None]
        out = self.backbone(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        states: Tensor = out.last_hidden_state
        return states

    def embed(self, pack: Pack, tokens: Tensor, pooled: Tensor) -> Tensor:
        """(B, T) tokens → (B, T, D), the chosen candidates' pooled states added at their tags."""
        embedded: Tensor = self.backbone.get_input_embeddings()(tokens)
        if not pack.echoes:
            return embedded
        rows, nodes, places = (torch.tensor(part, device=self.device) for part in zip(*pack.echoes, strict=True))
        return embedded.index_put((rows, nodes), pooled[rows, places] @ self.pointer.echo, accumulate=True)

    def table(self, states: Tensor, pack: Pack, pooled: Tensor) -> Tensor:
        """(slots, V) log-probabilities of the pack's slots, see `scoring.slot_table`."""
        head = self.causal.get_output_embeddings()
        return slot_table(states, pack, pooled, head.weight, getattr(head, "bias", None), self.pointer)

    def slot_log_probs(
        self,
        prompts: PromptBatch,
        requests: Sequence[StrategyRequest],
        decisions: Sequence[Decision],
    ) -> list[list[Tensor]]:
        """Per request and slot log p(value | earlier values of the decision) over the slot's values, at T = 1.

        One packed forward pass, differentiable in the active adapter.
        """
        table = self.slot_log_prob_table(prompts, requests, decisions)
        rows = iter(table.unbind(0))
        return [[next(rows)[: len(slot.values)] for slot in request.slots] for request in requests]

    def slot_log_prob_table(
        self,
        prompts: PromptBatch,
        requests: Sequence[StrategyRequest],
        decisions: Sequence[Decision],
    ) -> Tensor:
        """The same as one (slots of all requests in order, V) tensor, padded with a very small number."""
        prompts = prompts.to(self.device, self.dtype)
        pack = Pack(prompts.lengths)
        for row, (request, decision) in enumerate(zip(requests, decisions, strict=True)):
            self.lay_out(pack, row, request, decision)
        return self.follow(prompts, pack)

    def follow(self, prompts: PromptBatch, pack: Pack) -> Tensor:
        """(slots, V) log-probabilities of a whole pack below its prompts, in one forward pass."""
        tokens, positions, sees = (torch.from_numpy(part).to(self.device) for part in pack.arrays())
        before = prompts.visible()[:, None].expand(-1, sees.shape[1], -1)
        states = self.forward(
            self.embed(pack, tokens, prompts.pooled),
            positions,
            torch.cat((before, sees), -1),
            prompts.cache(),
        )
        return self.table(states, pack, prompts.pooled)

    def lay_out(
        self, pack: Pack, row: int, request: StrategyRequest, decision: Decision, start: Sequence[int] = ()
    ) -> int:
        """Add a whole decision to a pack below the prompt; returns its last node. `start` replaces the usual start."""
        node = pack.rows[row].add(start or self.spelling.start, ROOT)
        for index, slot in enumerate(request.slots):
            node = pack.rows[row].add(self.spelling.slot(slot.name), node)
            self.open_slot(pack, row, node, request, index)
            node = self.say(pack, row, node, request, slot.name, decision[slot.name])
        return node

    def open_slot(self, pack: Pack, row: int, node: int, request: StrategyRequest, index: int) -> None:
        """Add the choice between the values of slot `index` at `node`."""
        slot = request.slots[index]
        if slot.name in grammar_of(request).candidate_slots:
            places = {candidate.id: place for place, candidate in enumerate(request.candidates)}
            pack.point_at(row, node, [places[value] for value in slot.values])
        else:
            pack.branch(row, node, self.spelling.trie_of(request, slot))

    def say(self, pack: Pack, row: int, node: int, request: StrategyRequest, slot: str, value: str) -> int:
        """Add a chosen value's tokens below `node`; returns the last one."""
        if slot not in grammar_of(request).candidate_slots:
            return pack.rows[row].add(self.spelling.value_path(grammar_of(request).closed[slot], value), node)
        place = next(place for place, candidate in enumerate(request.candidates) if candidate.id == value)
        node = pack.rows[row].add(self.spelling.tag(place), node)
        pack.echoes.append((row, node, place))
        return node

    def session(self, prompts: PromptBatch, requests: Sequence[StrategyRequest]) -> "DecodeSession":
        """Stepwise decoding of a batch with keys and values kept."""
        from model.session import DecodeSession

        return DecodeSession(self, prompts.to(self.device, self.dtype), tuple(requests))

    @property
    def lean(self) -> LeanBackbone | None:
        """The backbone's lean pass, which everything goes through; None where its shape has none."""
        return self._active.lean

    def room(self, prompts: PromptBatch, columns: int) -> DynamicCache | Room:
        """What decoding goes on with: the prompts' keys and values, and room for so many nodes."""
        return prompts.cache() if self.lean is None else prompts.room(columns)

    def use_adapter(self, name: str | None) -> AbstractContextManager[None]:
        """Within the block `name` is active (None: the bare base); afterwards what was active before.

        Raises:
            KeyError: when the base has no such slot.
        """
        return self._active.use(name)

    def use_adapters(self, names: Sequence[str | None]) -> AbstractContextManager[None]:
        """Within the block row i of every batch sees adapter `names[i]` (None: the bare base).

        Each run of equal names is one product with its adapter: rows of one adapter had better stand together.

        Raises:
            KeyError: when the base has no such slot.
        """
        return self._active.use_each(names)
