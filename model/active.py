"""Which adapter slot each row of a batch sees, for the lean pass and for peft's layers alike."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer

from model.lean import BARE, LeanBackbone, Routes


class ActiveAdapters:
    """The slots that are active now; one thread's own.

    Attributes:
        routes: of the rows, for the lean pass.
    """

    def __init__(self, backbone: Any) -> None:
        """The bare base until told otherwise."""
        self._backbone = backbone
        self._tuned: list[Any] = []
        self.routes = BARE
        self._lean = LeanBackbone.of(backbone)

    @property
    def lean(self) -> LeanBackbone | None:
        """The lean pass, made anew when slots have been attached; None where the backbone's shape has none."""
        if self._lean is not None and self._lean.outdated:
            self._lean = LeanBackbone.of(self._backbone)
        return self._lean

    @contextmanager
    def use(self, name: str | None) -> Iterator[None]:
        """Within the block `name` is active (None: the bare base); afterwards what was active before.

        Only flags are set, per layer: peft's own `set_adapter` walks all modules, which costs 10 ms.

        Raises:
            KeyError: when the base has no such slot.
        """
        layers = self._tuned_layers()
        self._must_have([name])
        before, routes = [(layer.disable_adapters, layer.active_adapters) for layer in layers], self.routes
        try:
            self.routes = ((name, slice(None)),)
            for layer in layers:
                _activate(layer, disabled=name is None, active=[name] if name else layer.active_adapters)
            yield
        finally:
            self.routes = routes
            for layer, (disabled, active) in zip(layers, before, strict=True):
                _activate(layer, disabled=disabled, active=active)

    @contextmanager
    def use_each(self, names: Sequence[str | None]) -> Iterator[None]:
        """Within the block row i of every batch sees adapter `names[i]` (None: the bare base).

        Each run of equal names is one product with its adapter: rows of one adapter had better stand together.

        Raises:
            KeyError: when the base has no such slot.
        """
        if len(set(names)) <= 1:
            with self.use(names[0] if names else None):
                yield
            return
        self._must_have(names)
        hooks: list[Any] = []
        with self.use(next(name for name in names if name is not None)):
            self.routes = _runs(names)
            if self.lean is None:
                named = partial(_named, ["__base__" if name is None else name for name in names])
                hooks = [layer.register_forward_pre_hook(named, with_kwargs=True) for layer in self._tuned_layers()]
            try:
                yield
            finally:
                for hook in hooks:
                    hook.remove()

    def _must_have(self, names: Sequence[str | None]) -> None:
        layers = self._tuned_layers()
        for name in names:
            if name is not None and not (layers and name in layers[0].lora_A):
                raise KeyError(f"adapter {name!r}: the base has no such LoRA layers")

    def _tuned_layers(self) -> list[Any]:
        """The LoRA layers, looked for until there are some: later slots are added to the same layers."""
        if not self._tuned:
            self._tuned = [module for module in self._backbone.modules() if isinstance(module, BaseTunerLayer)]
        return self._tuned


def _activate(layer: Any, *, disabled: bool, active: list[str]) -> None:
    """The two flags that a layer's forward pass reads.

    Peft's setters also turn gradients of every slot on and off, which takes milliseconds between two batches; whoever trains
    a slot says so itself.
    """
    layer._disable_adapters = disabled  # noqa: SLF001 -- see above
    layer._active_adapter = active  # noqa: SLF001 -- the same


def _named(names: list[str], _layer: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """A LoRA layer's arguments with an adapter per row: peft's own way for a mixed batch."""
    return arguments, {**named, "adapter_names": names}


def _runs(names: Sequence[str | None]) -> Routes:
    """Runs of equal names as slices of the batch."""
    ends = [place for place in range(1, len(names)) if names[place] != names[place - 1]]
    return tuple((names[start], slice(start, end)) for start, end in itertools.pairwise([0, *ends, len(names)]))
