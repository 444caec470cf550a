"""Adapters that a careless operator might put into the inbox: one cut off, one that has learned the opposite."""

from collections.abc import Callable
from pathlib import Path

from safetensors.numpy import load_file, save_file

TENSORS = "adapter_model.safetensors"
OVERDONE = -3.0
"""Times what the newest adapter adds to the base: the harmful one avoids, more strongly, what that one prefers."""


def slip_corrupt_adapter(home: Path) -> bool:
    """Put a copy of the newest adapter, its tensors cut in half, into the inbox that the updater judges.

    Returns:
        Whether there was an adapter to spoil.
    """
    return _slip(home, "corrupt-adapter", _cut)


def slip_harmful_adapter(home: Path) -> bool:
    """Put one into the inbox that is intact, fits the base, and does the opposite of the newest adapter.

    Returns:
        Whether there was an adapter to spoil.
    """
    return _slip(home, "harmful-adapter", _turn_round)


def _slip(home: Path, name: str, spoil: Callable[[Path, Path], None]) -> bool:
    """Hand in the newest version under a name; `spoil` reads its tensors and writes others."""
    newest = _newest(home)
    if newest is None:
        return False
    partial = _copied(home, newest, name)
    spoil(newest / TENSORS, partial / TENSORS)
    partial.rename(partial.with_name(name))
    return True


def _cut(sound: Path, spoiled: Path) -> None:
    content = sound.read_bytes()
    spoiled.write_bytes(content[: len(content) // 2])


def _turn_round(sound: Path, spoiled: Path) -> None:
    tensors = load_file(sound)
    turned = {key: tensor * OVERDONE if "lora_B" in key else tensor for key, tensor in tensors.items()}
    save_file(turned, spoiled, metadata={"format": "pt"})


def _newest(home: Path) -> Path | None:
    versions = sorted((home / "registry").glob(f"adapter-*/{TENSORS}"))
    return versions[-1].parent if versions else None


def _copied(home: Path, version: Path, name: str) -> Path:
    """The version's files but its tensors, in a hidden folder that the updater does not look at."""
    partial = home / "registry" / "inbox" / f".{name}"
    partial.mkdir(parents=True, exist_ok=True)
    for path in version.glob("adapter*"):
        if path.name != TENSORS:
            (partial / path.name).write_bytes(path.read_bytes())
    return partial
