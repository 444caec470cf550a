"""The parts of README.md that are generated: the settings table and the tree. `python -m services.readme` renews them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from services.settings import PREFIX, AgentsSettings, Common, ShopSettings, UpdaterSettings, WorkerSettings
from services.settings_gateway import GatewaySettings
from services.settings_reward import RewardSettings

ROOT = Path(__file__).parents[1]
SERVICES: tuple[tuple[str, type[Struct]], ...] = (
    ("every service", Common),
    ("every service: what outcomes are worth", RewardSettings),
    ("`agents`", AgentsSettings),
    ("`worker`", WorkerSettings),
    ("`updater`", UpdaterSettings),
    ("`gateway`", GatewaySettings),
    ("`demo`, `replay`", ShopSettings),
)
"""Who reads a settings object, and the object."""
FOLDERS = ("streaming", "model", "services", "benchmarks", "deploy", "docs")
PHRASES = {
    "benchmarks/results": "curves of the learning benchmark by seed and arm, each with the hash of the code that made it",
    "deploy/constraints.txt": "the version of every package",
    "deploy/prometheus.yml": "a scrape configuration that finds every service of `stratagem up`",
    "deploy/setup.sh": "makes `.venv`, installs what is asked for, once",
    "docs/asyncapi.json": "every topic, as AsyncAPI 3.0 (generated)",
    "docs/attribution.md": "what is credited when, currencies, refunds, rounding, late outcomes; a worked example",
    "docs/consuming-strategies.md": "for those who show strategies: order, duplicates, what to echo, versions",
    "docs/contracts.md": "how a contract is changed without breaking who reads or writes it, and what was changed",
    "docs/dead-letters.md": "records that could not be processed: what a letter holds, and sending it again",
    "docs/examples": "a shop's first lines, to publish",
    "docs/experiments.md": "a dated log of what was tried for learning, failures included",
    "docs/http.md": "the HTTP gateway: keys, sending events, Segment's libraries, what is answered when",
    "docs/identity.md": "several ids of one customer: what a login moves, claims by two users, customers of two arms",
    "docs/interfaces.md": "what one room may expect of another",
    "docs/measured.md": "every figure with its command, machine, peer and spread",
    "docs/openapi.json": "the HTTP gateway, as OpenAPI 3.1 (generated)",
    "docs/preparing-data.md": "from a shop's raw files to tables, labels, splits and a data card",
    "docs/retention.md": "what is kept in Redis, and for how long",
    "docs/scale.md": "100,000 events a second, reckoned: partitions, workers, Redis, brokers, cost",
    "docs/schemas": "JSON Schemas of the topics (generated)",
    "model/base": "the base that ships, with its manifest",
    "model/data/labels.toml": "the label functions that ship",
    "model/data/mappings": "layouts of known data sets: which column is which field",
    "services/shop/data": "the extract of real purchases; SOURCE.md says what is real",
    "streaming/lua/apply.lua": "the one script: compare the version, write rows, outbox, due times and books",
}
"""What files without a docstring are; a folder named here is one line."""


def settings_rows(kind: type[Struct], inherited: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    """(variable, default, meaning) of each field that is the kind's own."""
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        if field.name not in inherited:
            default = msgspec.json.encode(field.default, enc_hook=str).decode().strip('"')
            yield PREFIX + field.name.upper(), default, meaning(hints[field.name])


def meaning(hint: Any) -> str:
    """A field's description, and the values it may take where they are few."""
    if get_origin(hint) is not Annotated:
        return ""
    kind, *metas = get_args(hint)
    described = next((meta.description for meta in metas if isinstance(meta, Meta) and meta.description), "")
    choices = ", ".join(f"`{choice}`" for choice in get_args(kind) if choice)
    return f"{described}: {choices}" if choices else described


def settings_table() -> str:
    """One Markdown table of all settings, by service."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    worth, common = (frozenset(f.name for f in msgspec.structs.fields(kind)) for kind in (RewardSettings, Common))
    inherited: dict[type[Struct], frozenset[str]] = {Common: worth, RewardSettings: frozenset()}
    for title, kind in SERVICES:
        lines.append(f"| *{title}* | | |")
        rows = settings_rows(kind, inherited.get(kind, common))
        lines += [
            f"| `{variable}` | {f'`{default}`' if default else ''} | {text} |" for variable, default, text in rows
        ]
    return "\n".join(lines)


def phrase(path: Path) -> str:
    """What a file is: its docstring's first line, or what `PHRASES` says."""
    name = path.relative_to(ROOT).as_posix()
    if name in PHRASES:
        return PHRASES[name]
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].rstrip(".")


def listed(folder: Path) -> Iterator[Path]:
    """The files and sub-folders that get a line, in order: a package's `__init__` says what the folder is."""
    for path in sorted(folder.iterdir(), key=lambda each: (each.is_dir(), each.name)):
        hidden = path.name.startswith((".", "__pycache__")) or path.name == "__init__.py"
        if not hidden and (path.suffix == ".py" or path.is_dir() or path.relative_to(ROOT).as_posix() in PHRASES):
            yield path


def tree_lines(folder: Path, depth: int) -> Iterator[str]:
    """The lines of one folder and of those below it."""
    name, init = folder.relative_to(ROOT).as_posix(), folder / "__init__.py"
    about = PHRASES.get(name) or (phrase(init) if init.exists() else "")
    yield f"{'  ' * depth}{folder.name}/".ljust(34) + about
    if name in PHRASES:
        return
    for path in listed(folder):
        if path.is_dir():
            yield from tree_lines(path, depth + 1)
        else:
            yield f"{'  ' * (depth + 1)}{path.name}".ljust(34) + phrase(path)


def tree() -> str:
    """The tree with one phrase per file, as a text block."""
    lines = (line.rstrip() for folder in FOLDERS for line in tree_lines(ROOT / folder, 0))
    return "```text\n" + "\n".join(lines) + "\n```"


def renewed(text: str) -> str:
    """README.md with its generated parts made anew."""
    for name, made in (("settings", settings_table()), ("tree", tree())):
        part = re.compile(rf"(<!-- {name} -->\n).*(<!-- /{name} -->)", re.DOTALL)
        text = part.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)  # type: ignore[misc]  # a lambda's default
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(renewed(readme.read_text(encoding="utf-8")), encoding="utf-8")
