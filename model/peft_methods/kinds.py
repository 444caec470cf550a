"""The methods as data: what each can do once it is trained, and how it may be served."""

from typing import Literal

import msgspec

from model.data.errors import Refused

Way = Literal["swapped", "merged"]


class Method(msgspec.Struct, frozen=True):
    """One way of adapting a model.

    Args:
        mergeable: its effect can be written into the base's weights; the outputs stay the same.
        hot_swappable: a worker exchanges it between batches, in resident slots, without touching the base.
        why: what decides that.
    """

    name: str
    mergeable: bool
    hot_swappable: bool
    why: str


METHODS = {
    found.name: found
    for found in (
        Method("lora", mergeable=True, hot_swappable=True, why="a sum of two thin matrices, which is what the worker's slots hold"),
        Method("adalora", mergeable=True, hot_swappable=False, why="its ranks differ by layer, and the worker's slots have one rank"),
        Method("dora", mergeable=True, hot_swappable=False, why="its column norms depend on the base's weights, and the worker's slots hold no norms"),
        Method("ia3", mergeable=True, hot_swappable=False, why="it scales rows of the base's weights, and the worker's slots hold no scales"),
        Method("full", mergeable=True, hot_swappable=False, why="it is a base by itself"),
        Method(
            "prefix", mergeable=False, hot_swappable=False,
            why="its keys and values stand before the prompt, which the worker encodes once by the bare base for all adapters",
        ),
        Method(
            "prompt", mergeable=False, hot_swappable=False,
            why="its tokens stand before the prompt, which the worker encodes once by the bare base for all adapters",
        ),
        Method(
            "adapter", mergeable=False, hot_swappable=False,
            why="its bend between two layers is no change of a weight, and the worker's slots hold no layers",
        ),
    )
}  # fmt: skip


def method(name: str) -> Method:
    """A method by name.

    Raises:
        Refused: there is none of that name.
    """
    if name not in METHODS:
        raise Refused(f"no method {name!r}: one of {', '.join(METHODS)}")
    return METHODS[name]


def way_to_serve(name: str, wanted: Way | None = None) -> Way:
    """How a trained method gets into a worker: swapped in where that can be, else merged into a base; or as it is `wanted`.

    Raises:
        Refused: it cannot be served so; the message says why and what can be done.
    """
    found = method(name)
    if not found.hot_swappable and not found.mergeable:
        raise Refused(
            f"{name} can be neither swapped in nor merged, so it is not served: {found.why}; it stays offline. "
            f"Served are {', '.join(each.name for each in METHODS.values() if each.hot_swappable or each.mergeable)}"
        )
    if wanted == "swapped" and not found.hot_swappable:
        raise Refused(f"{name} cannot be swapped in: {found.why}; merge it and serve the base it makes")
    return wanted or ("swapped" if found.hot_swappable else "merged")
