"""The files of a deployment as data: Compose, Kubernetes, images, and what they say of our settings."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from services.readme import SERVICES
from services.settings import PREFIX

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
ORDER = "stratagem/rollout-order"
VARIABLE = re.compile(rf"\b{PREFIX}[A-Z0-9_]+\b")
WORKLOADS = ("Deployment", "StatefulSet", "Job")

KNOWN = {PREFIX + field.name.upper() for _, kind in SERVICES for field in msgspec.structs.fields(kind)}
"""Every variable that a typed setting reads."""


def compose() -> dict[str, Any]:
    """The Compose file; anchors and merges are resolved."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def documents(folder: str) -> Iterator[dict[str, Any]]:
    """Every Kubernetes object in the files of a folder, as they stand."""
    for path in sorted((KUBERNETES / folder).glob("*.yaml")):
        for found in yaml.safe_load_all(path.read_text()):
            if isinstance(found, dict) and found.get("kind") not in {None, "Kustomization", "Component"}:
                yield found


def kinds(folder: str, *wanted: str) -> dict[str, dict[str, Any]]:
    """Name → object, of some kinds."""
    return {each["metadata"]["name"]: each for each in documents(folder) if each["kind"] in wanted}


def container(workload: dict[str, Any]) -> dict[str, Any]:
    """A workload's one container."""
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def settings_of(*folders: str) -> dict[str, str]:
    """The config map that these folders' `settings.env` make, the later ones above the earlier ones."""
    found: dict[str, str] = {}
    for folder in folders:
        for line in (KUBERNETES / folder / "settings.env").read_text().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.partition("=")
                found[name] = value
    return found


def texts() -> Iterator[Path]:
    """Every file that may name a setting."""
    yield from (path for path in sorted(DEPLOY.rglob("*")) if path.is_file() and path.suffix not in {".json", ".sh"})
    yield ROOT / "docs" / "deploying.md"
