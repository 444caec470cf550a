"""Parts that prompts share, kept encoded: what comes before all candidates, candidates, and how these stand to a request.

What a token becomes depends on the tokens that it sees alone, so a part that was read after the same parts need not be read again.
Prompts are encoded by the bare base: no swap touches what is kept. A part is found by its tokens and all those before it, which are
compared, so that nothing is ever taken for something else; it is kept from the second time that it is asked for, so that what does
not come again costs no memory; what was used longest ago makes room.

References:
    Gim et al. (2024), Prompt Cache: modular attention reuse for low-latency inference, arXiv 2311.04934.
    Kwon et al. (2023), Efficient memory management for large language model serving with PagedAttention, arXiv 2309.06180, section 4.4.
    Einziger, Friedman, Manes (2017), TinyLFU: a highly efficient cache admission policy, ACM TOS 13(4): kept when asked for again.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec
from torch import Tensor

from model.layout import Chain

REMEMBERED = 65_536
"""Parts that were asked for once, by their hash alone: some 8 MB at most."""


class Part(msgspec.Struct, frozen=True):
    """Tokens read.

    Args:
        memory: (layers, 2, kv heads, tokens, head width) keys and values.
        summed: (D,) their final states added up, of which candidates are pooled.
    """

    memory: Tensor
    summed: Tensor

    def __len__(self) -> int:
        """Number of tokens."""
        return self.memory.shape[3]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return self.memory.nbytes + self.summed.nbytes

    def apart(self) -> "Part":
        """The same in memory of its own."""
        return Part(self.memory.clone(), self.summed.clone())


class Figures(msgspec.Struct):
    """What came of it so far.

    Args:
        prompts: looked up.
        found: of which some part was kept.
        tokens: of those parts: not read again.
    """

    prompts: int = 0
    found: int = 0
    tokens: int = 0


class PrefixCache:
    """Parts by their chain, those used last at the end; of one base. One thread at a time."""

    def __init__(self, most_bytes: int) -> None:
        """Nothing is kept yet; never more than `most_bytes` of tensors."""
        self._most = most_bytes
        self._parts: OrderedDict[Chain, Part] = OrderedDict()
        self._asked: OrderedDict[int, None] = OrderedDict()
        self.nbytes = 0
        self.figures = Figures()

    def find(self, chains: Sequence[Chain]) -> dict[Chain, Part]:
        """What is kept of one prompt's parts. A part is never there without those before it."""
        found = {chain: part for chain in chains if (part := self._parts.get(chain)) is not None}
        self.figures.prompts += 1
        self.figures.found += bool(found)
        self.figures.tokens += sum(len(found[chain]) for chain in chains if chain in found)
        return found

    def keep(self, chains: Sequence[Chain], made: Callable[[Chain], Part]) -> None:
        """Take note of one prompt's parts, in order; what was asked for before is kept.

        Args:
            chains: of its parts, each after those before it.
            made: the part of a chain, as it was found or read.
        """
        for chain in chains:
            if chain not in self._parts and self._again(chain) and (len(chain) == 1 or chain[:-1] in self._parts):
                self._parts[chain] = part = made(chain).apart()
                self.nbytes += part.nbytes
        # Those before become newer than those after them, which go first.
        for chain in reversed(chains):
            if chain in self._parts:
                self._parts.move_to_end(chain)
        while self.nbytes > self._most:
            self.nbytes -= self._parts.popitem(last=False)[1].nbytes

    def _again(self, chain: Chain) -> bool:
        """Whether a part was asked for before; it is remembered."""
        key = hash(chain)
        if key in self._asked:
            return True
        self._asked[key] = None
        if len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)
        return False


def kept(mib: int) -> PrefixCache | None:
    """Of a setting: a cache of so many MiB; None for 0."""
    return PrefixCache(mib * 2**20) if mib else None
