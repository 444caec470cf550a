"""Kafka's classes, loaded and linked beforehand: a broker is there in half the time, for a third of the work.

A JVM that was told to writes them into one file as it ends, and another maps that file into its memory; one that does not fit the
file (other jars, another Java) starts as it would without. Java 25 does so in one run.

References:
    JEP 483: Ahead-of-time class loading and linking. JEP 514: Ahead-of-time command-line ergonomics.
"""

import re
from collections.abc import Callable
from pathlib import Path

from services.local.java import Progress, java_version, made_once
from services.local.process import ProcessDied

SINCE_JAVA = 25
"""The first that makes a cache in the run that it learns from."""
Train = Callable[[str], None]
"""Runs a broker with one more option of the JVM, and ends it in good order."""


def makes_caches(version: str) -> bool:
    """Tell whether a Java of this version, `25.0.2`, makes a cache; one that does not say its version is not asked to."""
    major = re.match(r"\d+", version)
    return major is not None and int(major[0]) >= SINCE_JAVA


def class_cache_options(java: Path, folder: Path, progress: Progress, train: Train) -> tuple[str, ...]:
    """Return the JVM's options that use the cache, which is made once per folder of jars and Java.

    None where Java is older, or where no cache could be made: an empty file says so, and it is not tried again.

    Args:
        java: The program.
        folder: Holds the jars, and the cache.
        progress: Told what is being done.
        train: Runs what is to be learned from.
    """
    version = java_version(java)
    if not makes_caches(version):
        return ()
    made = folder / f"classes-{version}.aot"
    made_once(made, folder / "classes.lock", lambda: _make(made, progress, train))
    # What a JVM says of a file that does not fit is nothing that a user could act on.
    return (f"-XX:AOTCache={made}", "-Xlog:aot*=off") if made.stat().st_size else ()


def _make(made: Path, progress: Progress, train: Train) -> None:
    """Written beside, then renamed: an interrupted one never looks like a finished one."""
    progress("preparing Kafka's classes (once, about 20 s)")
    partial = made.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    reason = "nothing was written"
    try:
        train(f"-XX:AOTCacheOutput={partial}")
    except (ProcessDied, TimeoutError) as error:
        reason = str(error).splitlines()[-1]
    if partial.exists():
        partial.rename(made)
    else:
        made.touch()
        progress(f"Kafka's classes could not be prepared ({reason}): it starts without; remove {made} to try again")
