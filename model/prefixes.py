"""Beginnings that prompts share, kept encoded: blocks of tokens with their keys, values and final states.

In a causal model what a token becomes depends on the tokens before it alone, so a beginning read once need not be read again.
Prompts are encoded by the bare base: no swap touches what is kept. A block is found by its tokens and by the block before it, both
compared, so that nothing is ever taken for something else; it is kept from the second time that it is asked for, so that
prompts without anything in common cost no memory; those used longest ago make room.

References:
    Kwon et al. (2023), Efficient memory management for large language model serving with PagedAttention, arXiv 2309.06180,
    section 4.4, and vLLM's automatic prefix caching: blocks found by their tokens and what is before them.
    Einziger, Friedman, Manes (2017), TinyLFU: a highly efficient cache admission policy, ACM TOS 13(4): kept when asked for again.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import msgspec
from torch import Tensor

BLOCK = 16
"""Tokens of a block: what two prompts share beyond whole blocks is read again."""
REMEMBERED = 65_536
"""Blocks that were asked for once, by their hash alone: some 8 MB at most."""
_FIRST = 0
"""What stands for the block before a prompt's first one."""


class Block(msgspec.Struct, frozen=True):
    """`BLOCK` tokens read.

    Args:
        before: key of the block before it.
        tokens: its own.
        memory: (layers, 2, kv heads, BLOCK, head width) keys and values.
        states: (BLOCK, D) final states, of which candidates are pooled.
    """

    before: int
    tokens: tuple[int, ...]
    memory: Tensor
    states: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return self.memory.nbytes + self.states.nbytes


class Figures(msgspec.Struct):
    """What came of it so far.

    Args:
        prompts: looked up.
        found: of which some beginning was kept.
        tokens: of those beginnings: not read again.
    """

    prompts: int = 0
    found: int = 0
    tokens: int = 0


class PrefixCache:
    """Blocks by their key, those used last at the end; of one base. One thread at a time."""

    def __init__(self, most_bytes: int) -> None:
        """Nothing is kept yet; never more than `most_bytes` of tensors."""
        self._most = most_bytes
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._asked: OrderedDict[int, None] = OrderedDict()
        self.nbytes = 0
        self.figures = Figures()

    def find(self, tokens: Sequence[int]) -> list[Block]:
        """The blocks that a prompt begins with; at least one of its tokens is left to be read."""
        found: list[tuple[int, Block]] = []
        for key, before, own in _keys(tokens[:-1]):
            block = self._blocks.get(key)
            if block is None or block.before != before or block.tokens != own:
                break
            found.append((key, block))
        self._use(found)
        self.figures.prompts += 1
        self.figures.found += bool(found)
        self.figures.tokens += len(found) * BLOCK
        return [block for _, block in found]

    def keep(self, tokens: Sequence[int], memory: Tensor, states: Tensor) -> None:
        """Take note of a prompt that was read; what was asked for before is kept.

        Args:
            tokens: of the prompt, L of them.
            memory: (layers, 2, kv heads, at least L, head width).
            states: (L, D).
        """
        chain: list[tuple[int, Block]] = []
        for place, (key, before, own) in enumerate(_keys(tokens[:-1])):
            block = self._blocks.get(key)
            if block is None:
                if not self._again(key):
                    continue
                part = slice(place * BLOCK, (place + 1) * BLOCK)
                block = Block(before, own, memory[:, :, :, part].clone(), states[part].clone())
                self.nbytes += block.nbytes
            elif block.before != before or block.tokens != own:
                break  # another beginning with the same hash was first
            chain.append((key, block))
        self._use(chain)
        while self.nbytes > self._most:
            self.nbytes -= self._blocks.popitem(last=False)[1].nbytes

    def _use(self, chain: Sequence[tuple[int, Block]]) -> None:
        """Blocks of one prompt, in order: each becomes newer than those after it, which go first."""
        for key, block in reversed(chain):
            self._blocks[key] = block
            self._blocks.move_to_end(key)

    def _again(self, key: int) -> bool:
        """Whether a block was asked for before; it is remembered."""
        if key in self._asked:
            return True
        self._asked[key] = None
        if len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)
        return False


def _keys(tokens: Sequence[int]) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Per whole block its key, the key before it, and its tokens."""
    before = _FIRST
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        own = tuple(tokens[start : start + BLOCK])
        key = hash((before, own))
        yield key, before, own
        before = key
