"""Curves on disk: one file per seed, arm and content of what made it, so that nothing is run twice.

benchmarks/results/learning/seed-0006/fused-1a2b3c4d.jsonl
"""

import ast
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from benchmarks.learning.arms import PRODUCTION, Knobs
from benchmarks.learning.play import BLOCK, Block
from benchmarks.learning.tuned import TUNED
from benchmarks.worlds.knobs import WorldKnobs

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "learning"

_PLAYED = (
    "benchmarks/worlds/*.py",
    "benchmarks/learning/play.py",
    "benchmarks/learning/arms.py",
    "streaming/reward.py",
)
_ENCODED = ("streaming/contracts/features.py", "streaming/contracts/kinds.py", "model/grid.py")
_PEERS = {
    "lints": ("benchmarks/learning/linear.py", "benchmarks/learning/features.py"),
    "linucb": ("benchmarks/learning/linear.py", "benchmarks/learning/features.py"),
    "vw": ("benchmarks/learning/vw.py", "benchmarks/learning/features.py"),
    "epsilon": (
        "benchmarks/learning/epsilon.py",
        "benchmarks/learning/dense.py",
        "benchmarks/learning/features.py",
        "model/memory.py",
    ),
    "random": (),
}
_CRITIC = (
    "benchmarks/learning/production.py",
    "services/records.py",
    "services/updater_learning.py",
    "services/updater_critics.py",
    "services/settings.py",
    *(
        f"model/{name}.py"
        for name in (
            "critic critic_features evidence formula learner lessons memory newton drift decode policy gate gate_critic"
        ).split()
    ),
)
_MODEL = (
    *_CRITIC,
    "services/updater_training.py",
    "services/worker_serving.py",
    "model/*.py",
    "model/base/manifest.json",
)


class Line(Block, frozen=True, kw_only=True):
    """One arm's block, as printed and kept.

    Args:
        interactions: of the block; fewer than `BLOCK` at the end of a run.
        code: hash of everything that this arm's curve depends on.
        knobs: a peer's or the updater's settings, where they are not the usual ones.
    """

    seed: int
    arm: str
    interactions: int
    code: str
    knobs: dict[str, Any] = msgspec.field(default_factory=dict)


L = TypeVar("L", bound=Line)


def line_of(seed: int, arm: str, count: int, code: str, knobs: Knobs | None, block: Block) -> Line:
    """A block with where it comes from."""
    size = min(BLOCK, count - block.block * BLOCK)
    facts = msgspec.structs.asdict(block)
    return Line(seed=seed, arm=arm, interactions=size, code=code, knobs=dict(knobs or {}), **facts)


def code_of(arm: str, world: WorldKnobs, knobs: Knobs | None = None, root: Path = ROOT) -> str:
    """Hash of the files, the world's knobs and the peer's that make an arm's curve: 8 hexadecimal digits."""
    digest = sha256(msgspec.json.encode(world))
    digest.update(msgspec.json.encode({**TUNED.get(arm, {}), **(knobs or {})}, order="sorted"))
    for path in sources(arm, root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + meaning(path))
    return digest.hexdigest()[:8]


def sources(arm: str, root: Path = ROOT) -> list[Path]:
    """The files that an arm's curve depends on, sorted."""
    patterns = [*_PLAYED, *_ENCODED]
    if arm in PRODUCTION:
        patterns += _CRITIC if arm == "critic" else _MODEL
    else:
        patterns += _PEERS[arm]
    return sorted({path for pattern in patterns for path in root.glob(pattern)})


def meaning(path: Path) -> bytes:
    """What a file does: a Python file's syntax tree without comments, layout and docstrings; any other file's bytes."""
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]  # it has one: see above
    return ast.dump(tree).encode()


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a string and nothing else: a docstring, or one below an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def path_of(results: Path, seed: int, arm: str, code: str) -> Path:
    """Where a curve is kept."""
    return results / f"seed-{seed:04d}" / f"{arm}-{code}.jsonl"


def read(path: Path) -> list[Line]:
    """The whole lines of a curve; one that a crash cut off is left out."""
    return read_as(path, Line)


def read_as(path: Path, kind: type[L]) -> list[L]:
    """The same of lines that say more."""
    if not path.is_file():
        return []
    kept = path.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=kind) for line in kept]


def covers(lines: Sequence[Line], count: int) -> bool:
    """Whether a curve holds `count` interactions in blocks that a run of that length would print."""
    wanted = [min(BLOCK, count - start) for start in range(0, count, BLOCK)]
    return [line.interactions for line in lines[: len(wanted)]] == wanted


def current(
    results: Path, seeds: Iterable[int], arms: Iterable[str], world: WorldKnobs, settings: Knobs | None = None
) -> dict[tuple[int, str], list[Line]]:
    """(seed, arm) → the curve of the code as it stands; pairs without one are left out. `settings`: of the served arms."""
    found = {}
    for arm in arms:
        code = code_of(arm, world, settings if arm in PRODUCTION else None)
        for seed in seeds:
            if lines := read(path_of(results, seed, arm, code)):
                found[seed, arm] = lines
    return found
