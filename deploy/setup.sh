#!/usr/bin/env bash
# Creates .venv/ and installs the project with the extras named as arguments, at the versions of constraints.txt.
# Does nothing, in a few milliseconds, when that has been done for the present pyproject.toml and constraints.txt.
#   deploy/setup.sh local test     what `make test` needs
#   PYTHON=/path/to/python         the interpreter to use, instead of the first fitting one on PATH
#   DRY_RUN=1                      resolve only, install nothing of the project
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CONSTRAINTS=deploy/constraints.txt
readonly STAMPS=.venv/stamps
readonly SUPPORTED='import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))'

fail() { echo "stratagem: $*" >&2; exit 1; }
say() { echo "stratagem: $*" >&2; }

# Prints the first interpreter that runs (a pyenv shim may exist and not run) and has a supported version.
find_python() {
    local name
    for name in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if "$name" -c "$SUPPORTED" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 found (tried: ${PYTHON:-python3.11 python3.12 python3.13 python3}); set PYTHON=/path/to/one"
}

check_platform() {
    [[ "$(uname -s) $(uname -m)" == "Linux x86_64" ]] && return
    local part
    for part in java redis-server; do
        command -v "$part" >/dev/null || fail "on $(uname -s) $(uname -m) a $part must be on PATH: the ready-made one is for Linux x86-64"
    done
}

create_venv() {
    [[ -x .venv/bin/python ]] && .venv/bin/python -c "$SUPPORTED" >/dev/null 2>&1 && return
    local python
    python="$(find_python)"
    "$python" -c 'import venv, ensurepip' 2>/dev/null || fail "$python lacks the venv module (Debian: apt-get install python3-venv)"
    say "creating .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

install_uv() {
    [[ -x .venv/bin/uv ]] && return
    say "installing uv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint "$CONSTRAINTS" uv
}

# Says which build of torch to take: the small CPU one where there is no GPU, if the index that has it answers. The whole
# installation is tried, because a torch that is here already needs no index when it is asked for alone.
torch_options() {
    local answer
    if answer="$(.venv/bin/uv pip install --dry-run --torch-backend=auto --constraint "$CONSTRAINTS" --editable ".[$1]" 2>&1)"; then
        echo "--torch-backend=auto"
    elif grep -qi pytorch <<<"$answer"; then
        say "the PyTorch index does not answer: installing PyPI's torch, which brings CUDA (5.6 GB)"
    else
        fail "cannot resolve [$1]: $(tail -n 1 <<<"$answer")"
    fi
}

# What an installation depends on: the two files, and the folder, whose path an editable install holds.
fingerprint() { { cat pyproject.toml "$CONSTRAINTS"; pwd; } | sha256sum | cut -d ' ' -f 1; }

installed() {
    local extra
    for extra in "$@"; do
        [[ -f "$STAMPS/$extra" && "$(<"$STAMPS/$extra")" == "$wanted" ]] || return 1
    done
}

# Imports what the services import, with bytecode kept: where PYTHONDONTWRITEBYTECODE is set, as containers have it, each start
# would compile torch and transformers again, ten seconds of a core. Only speed depends on it, so what is not there stops nothing.
compile_services() {
    say "compiling what the services import"
    PYTHONDONTWRITEBYTECODE="" .venv/bin/python -c '
import contextlib, importlib
for name in ("agents", "worker", "updater_training", "updater", "gateway", "shop.replay"):
    with contextlib.suppress(ImportError):
        importlib.import_module("services." + name)' >/dev/null 2>&1 || true
}

main() {
    local wanted extras options
    wanted="$(fingerprint)"
    [[ -x .venv/bin/python ]] && installed "$@" && return
    # Two commands of a fresh clone at once: the second waits, then finds everything there.
    if command -v flock >/dev/null; then
        exec 9<pyproject.toml
        flock 9
        installed "$@" && return
    fi
    check_platform
    create_venv
    install_uv
    extras="$(IFS=,; echo "$*")"
    say "installing [$extras] (minutes the first time)"
    options="$(torch_options "$extras")"
    # shellcheck disable=SC2086  # no option at all, or one
    .venv/bin/uv pip install ${DRY_RUN:+--dry-run} $options --constraint "$CONSTRAINTS" --editable ".[$extras]"
    [[ -n "${DRY_RUN:-}" ]] && return
    compile_services
    mkdir -p "$STAMPS"
    local extra
    for extra in "$@"; do echo "$wanted" >"$STAMPS/$extra"; done
}

export VIRTUAL_ENV="$PWD/.venv"
[[ $# -gt 0 ]] || fail "usage: deploy/setup.sh EXTRA...  (local, data, test, bench)"
main "$@"
