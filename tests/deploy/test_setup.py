"""The installation: its pins, and its one-line answers to what is missing."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^[a-z0-9][a-z0-9._-]*==[0-9][0-9a-z.!]*( ; .+)?$")


def pins() -> dict[str, str]:
    """Return what the constraints file pins: name to version."""
    lines = (ROOT / "deploy/constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in found}


def test_constraints_are_plain_pins() -> None:
    """Every line is `name==version`, perhaps for some platforms: no address, no path, no build of torch, no CUDA."""
    lines = (ROOT / "deploy/constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert [line for line in pinned if not PIN.match(line)] == []
    assert [line for line in pinned if line.startswith(("nvidia-", "cuda-", "triton"))] == []


def test_every_requirement_is_pinned_and_fits() -> None:
    """Each package that pyproject.toml asks for, in any extra, is pinned to a version it accepts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    pinned = pins()
    for requirement in map(Requirement, asked):
        if requirement.name == project["name"]:  # one extra takes in others
            assert requirement.extras <= project["optional-dependencies"].keys()
            continue
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), requirement


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that holds what the setup reads, and no .venv."""
    for name in ("pyproject.toml", "deploy/constraints.txt", "deploy/setup.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    """Write a small shell program."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def setup(clone: Path, *extras: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the setup with a changed environment."""
    return subprocess.run(
        ["bash", "deploy/setup.sh", *extras],
        cwd=clone,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_out_of_range_is_named_in_one_line(clone: Path) -> None:
    """Interpreters that do not run, or are too old, are passed over; the answer says which are wanted."""
    program(clone, "broken", "exit 127")
    done = setup(clone, "local", PYTHON=f"{clone / 'broken'} no-such-python")
    assert done.returncode == 1
    assert re.fullmatch(r"stratagem: no Python 3\.11, 3\.12 or 3\.13 found .*\n", done.stderr)


def test_a_missing_venv_module_is_named_in_one_line(clone: Path) -> None:
    """A Python without the venv module (bare Debian) is answered by what to install."""
    program(clone, "bare-python", 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')
    done = setup(clone, "local", PYTHON=str(clone / "bare-python"))
    assert done.returncode == 1
    assert re.fullmatch(r"stratagem: .*lacks the venv module .*apt-get install python3-venv.*\n", done.stderr)


def test_another_platform_needs_java_and_redis(clone: Path) -> None:
    """Elsewhere than on Linux x86-64 a missing java or redis-server is named in one line."""
    programs = clone / "bin"
    programs.mkdir()
    program(programs, "uname", 'case "$1" in -s) echo Darwin;; -m) echo arm64;; esac')
    for name in ("bash", "cat", "sha256sum", "cut", "dirname"):
        (programs / name).symlink_to(subprocess.check_output(["which", name], text=True).strip())
    done = setup(clone, "local", PATH=str(programs))
    assert done.returncode == 1
    assert re.fullmatch(r"stratagem: on Darwin arm64 a java must be on PATH.*\n", done.stderr)


def test_a_finished_setup_is_not_repeated(clone: Path) -> None:
    """What is installed for the present pins is not installed again; new pins or another extra are."""
    (clone / ".venv/bin").mkdir(parents=True)
    program(clone / ".venv/bin", "python", "exit 0")
    program(clone / ".venv/bin", "uv", f'echo "$@" >>{clone}/installed')
    installs = clone / "installed"

    def count() -> int:
        lines = installs.read_text().splitlines() if installs.exists() else []
        return sum("--editable" in line and "--dry-run" not in line for line in lines)

    for wanted, extras in [(1, ["local"]), (1, ["local"]), (2, ["local", "test"]), (2, ["test"]), (2, ["local"])]:
        assert setup(clone, *extras).returncode == 0
        assert count() == wanted
    with (clone / "deploy/constraints.txt").open("a") as constraints:
        constraints.write("another==1\n")
    assert setup(clone, "test").returncode == 0
    assert count() == 3


def test_a_silent_pytorch_index_is_said_and_survived(clone: Path) -> None:
    """When the index of CPU builds does not answer, PyPI's build is installed, and one line says so."""
    (clone / ".venv/bin").mkdir(parents=True)
    program(clone / ".venv/bin", "python", "exit 0")
    script = f'echo "$@" >>{clone}/installed; case "$@" in *--dry-run*) echo "dns error: pytorch" >&2; exit 2;; esac'
    program(clone / ".venv/bin", "uv", script)
    done = setup(clone, "local")
    assert done.returncode == 0
    assert "stratagem: the PyTorch index does not answer: installing PyPI's torch" in done.stderr
    last = (clone / "installed").read_text().splitlines()[-1]
    assert "--editable .[local]" in last
    assert "--torch-backend" not in last
