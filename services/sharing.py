"""How a service shares its machine's cores with the others: how many threads its libraries use, and who goes first."""

import os
from collections.abc import MutableMapping

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What NumPy's and torch's libraries read when they are imported, and never again."""


def bound_threads(environ: MutableMapping[str, str], threads: int) -> None:
    """Let libraries that are imported from now on use so many threads; what is set already stands."""
    for name in THREADS:
        environ.setdefault(name, str(threads))


def step_back(niceness: int) -> None:
    """Give way to every process on this machine that is less nice, by 0 (not at all) to 19."""
    if niceness:
        os.nice(niceness)
