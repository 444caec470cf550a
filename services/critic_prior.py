"""A response run → the first state of the updater: the critic that a new deployment begins with. The edge of `model/prior`."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from model.critic import content_hash
from model.data.errors import Refused
from model.prior.believing import Knobs, Told, believe
from model.prior.mapping import read_mapping
from model.response.served import Served
from model.response.tables import read
from services.clients import topic_name
from services.settings import UpdaterSettings
from services.updater_learning import Learning
from services.updater_state import (
    UpdaterFacts,
    commit,
    folder_of,
    load_learning,
    newest,
    partial_folder,
    save_learning,
    snapshots,
)
from services.valuing import formula_of
from streaming.contracts.errors import BadEvent
from streaming.contracts.topics import REWARDS

PRIOR = "prior.json"
"""In the first snapshot: what the prior was made of."""


class Written(msgspec.Struct, frozen=True):
    """What came of it: the hash of the critic's content, and the snapshot that the updater goes on from."""

    content: str
    snapshot: Path
    told: Told


def write(
    settings: UpdaterSettings, run: Path, data: Path, mapping: Path | None, knobs: Knobs, told: Callable[[str], None]
) -> Written:
    """Give the updater of this home a prior.

    Raises:
        Refused: run, folder or mapping cannot be used, or the updater has learned from rewards already.
    """
    formula, folder = formula_of(settings), folder_of(settings)
    _check_new(settings, folder)
    mapped, served = read_mapping(mapping), Served.load(run)
    learning = Learning.fresh(settings, formula)
    believed = believe(learning.learner, served, read(data), mapped, knobs, told)
    content = content_hash(learning.learner.snapshot())
    number = max((int(path.name.split("-")[1]) for path in snapshots(folder)), default=0) + 1
    facts = UpdaterFacts(topic_name(settings, REWARDS), 0, number, prior=in_words(believed))
    partial = partial_folder(folder)
    save_learning(learning, facts, partial)
    (partial / PRIOR).write_bytes(msgspec.json.format(msgspec.json.encode(believed), indent=1))
    return Written(content, commit(partial, folder, number), believed)


def in_words(told: Told) -> str:
    """The lineage of the first critic, as its record on `model.decisions` says it."""
    models = ", ".join(f"{label} by {model.replace('_', ' ')}" for label, model in told.models.items())
    kinds = ", ".join(one.kind for one in told.coverage)
    return (
        f"prior from {Path(told.run).name} ({models}; learned until {told.learned_until}): {told.pairs} answers on {kinds}, "
        f"counted as {told.strength:g} strategies, and {told.logged} logged exposures"
    )


def _check_new(settings: UpdaterSettings, folder: Path) -> None:
    known = newest(folder)
    if known is None:
        return
    try:
        learning, _ = load_learning(known, settings, formula_of(settings))
    except BadEvent as error:
        raise Refused(f"{known} is of other settings ({error}): wanted a home that the updater has not used") from None
    if learning.learner.learned:
        raise Refused(
            f"the updater of {settings.home} has learned from {learning.learner.learned:,} rewards: a prior is for a deployment that begins"
        )
