"""What is served after each decision: the record `serving` from the one before it. Pure.

Whoever announces it gives it its sequence and time. Each trial has a salt of its own, so that who was treated in one says nothing of
who is in the next.
"""

from msgspec.structs import replace

from streaming.contracts.adapters import BASE_ALONE, Serving, Version
from streaming.contracts.errors import BadEvent
from streaming.contracts.ids import derive


def refreshed(serving: Serving, version: str, share: float) -> Serving:
    """The line's next step is served; with the first begins a trial of what was served before it."""
    after = replace(serving, champion=version)
    if serving.salts.get("anchor"):
        return after
    return anchored(after, serving.champion, share)


def anchored(serving: Serving, anchor: str, share: float, *, trial: int = 1, carried: float = 0.0) -> Serving:
    """Customers anew are served this anchor."""
    salts = {**serving.salts, "anchor": _salt(serving, "anchor", anchor)}
    return replace(serving, anchor=anchor, salts=salts, anchor_share=share, anchor_trial=trial, anchor_carried=carried)


def on_trial(serving: Serving, version: str, share: float) -> Serving:
    """A change is served to customers of its own."""
    salts = {**serving.salts, "canary": _salt(serving, "canary", version)}
    return replace(serving, canary=version, salts=salts, canary_share=share)


def without_canary(serving: Serving) -> Serving:
    """Nothing is on trial."""
    salts = {role: salt for role, salt in serving.salts.items() if role != "canary"}
    return replace(serving, canary="", salts=salts, canary_share=0.0)


def changed(serving: Serving, version: str, share: float) -> Serving:
    """Another line begins at a version: it is champion and its own anchor."""
    after = without_canary(serving) if serving.canary == version else serving
    return anchored(replace(after, champion=version), version, share)


def rolled_back(serving: Serving, share: float) -> Serving:
    """The line goes back to its anchor, which remains so, with what is left of its errors' probability."""
    after = replace(serving, champion=serving.anchor)
    return anchored(after, serving.anchor, share, trial=serving.anchor_trial + 1, carried=serving.anchor_carried)


def by_hand(serving: Serving, share: float, *, promote: str = "", withdraw: str = "", to: str = "") -> Serving:
    """An operator's act, in an epoch of its own.

    Args:
        promote: the version to serve as champion.
        withdraw: or the version to serve no more, which is canary or champion.
        to: what is served instead of a champion that is withdrawn.

    Raises:
        BadEvent: the version has no such role, or there is nothing to go to.
    """
    epoch = replace(serving, epoch=serving.epoch + 1)
    if promote:
        return changed(epoch, promote, share)
    if withdraw and withdraw == serving.canary:
        return without_canary(epoch)
    if withdraw != serving.champion:
        raise BadEvent("version", withdraw, f"the canary or the champion, {serving.champion}")
    if not to or to == withdraw:
        raise BadEvent("to", to, "a version to go back to")
    return changed(epoch, to, share)


def former(serving: Serving, versions: dict[str, Version]) -> str:
    """Where a champion goes back to: its anchor, or the version it was trained from; empty where neither stands."""
    champion = versions.get(serving.champion)
    for name in (serving.anchor, champion.parent if champion else ""):
        if name not in ("", serving.champion) and (name == BASE_ALONE or name in versions):
            return name
    return BASE_ALONE if serving.champion != BASE_ALONE else ""


def _salt(serving: Serving, role: str, version: str) -> str:
    """Of its own for every record it is announced by: epoch and sequence are never used again."""
    return derive("salt", role, version, str(serving.epoch), str(serving.sequence))
