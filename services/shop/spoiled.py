"""Adapters that a careless operator might put into the inbox: one cut off, one that has learned the opposite."""

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
    newest = _newest(home)
    if newest is None:
        return False
    partial = _copied(home, newest, "corrupt-adapter")
    content = (newest / TENSORS).read_bytes()
    (partial / TENSORS).write_bytes(content[: len(content) // 2])
    _hand_in(partial)
    return True


def slip_harmful_adapter(home: Path) -> bool:
    """Put one into the inbox that is intact, fits the base, and does the opposite of the newest adapter.

    Returns:
        Whether there was an adapter to spoil.
    """
    newest = _newest(home)
    if newest is None:
        return False
    partial = _copied(home, newest, "harmful-adapter")
    tensors = load_file(newest / TENSORS)
    turned = {key: tensor * OVERDONE if "lora_B" in key else tensor for key, tensor in tensors.items()}
    save_file(turned, partial / TENSORS, metadata={"format": "pt"})
    _hand_in(partial)
    return True


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


def _hand_in(partial: Path) -> None:
    partial.rename(partial.with_name(partial.name.removeprefix(".")))
