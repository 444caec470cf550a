"""README.md and the docs: each command of a ```bash block is run as it stands."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from services.cli import main
from services.endpoints import connected
from services.local.broker import KAFKA_VERSION
from services.local.java import find_java, resolve_jars
from services.readme import ROOT
from services.settings import Common
from tests.services.up_samples import event, eventually

README = (ROOT / "README.md").read_text(encoding="utf-8")
UP = ".venv/bin/stratagem up"
UP_TIMEOUT_S = 180
COMMAND_TIMEOUT_S = 150


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str = README) -> list[str]:
    """Every shell command of a page, without its comment, in order."""
    lines = (line for block in blocks("bash", text) for line in block.splitlines())
    return [line.partition("  #")[0].partition(" # ")[0].strip() for line in lines if line.strip()]


def every_command() -> list[str]:
    """Those of the README, then those that only other pages have."""
    pages = [README, *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))]
    return list(dict.fromkeys(command for page in pages for command in commands(page)))


def test_ci_runs_the_two_commands() -> None:
    """What the README calls the two commands is what `.ci/run` calls, and all of `make` there is."""
    made = {command for command in commands() if command.startswith("make ")}
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert made == {"make demo", "make test"}
    assert all(command in script for command in made)


def test_every_command_named_in_the_text_exists() -> None:
    """An inline `stratagem x` names a command of the command line."""
    named = set(re.findall(r"`stratagem ([a-z][a-z -]*[a-z])`", README))
    assert named
    for words in named:
        found: click.Command | None = main
        for word in words.split():
            found = found.commands.get(word) if isinstance(found, click.Group) else None
        assert found is not None, f"stratagem {words}"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, stratagem_home: Path) -> Iterator[Mapping[str, str]]:
    """The environment of a user in whose shell `stratagem up` runs, in a home of the test's own."""
    own = {"STRATAGEM_HOME": str(tmp_path_factory.mktemp("up")), "STRATAGEM_CACHE": str(stratagem_home / "cache")}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STRATAGEM_")} | own
    with subprocess.Popen(UP.split(), cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as process:
        giving_up = threading.Timer(UP_TIMEOUT_S, process.kill)
        giving_up.start()
        try:
            assert process.stderr is not None
            said: list[str] = []
            while not said or "Ctrl-C" not in said[-1]:
                said.append(process.stderr.readline())
                assert said[-1], "".join(said)
            giving_up.cancel()
            (gateway,) = (line.split()[-1] for line in said if "HTTP at " in line)
            yield environ | {"GATEWAY": gateway}
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=UP_TIMEOUT_S)
    assert process.returncode == 130  # said goodbye, not killed


def bootstrap_of(environ: Mapping[str, str]) -> str:
    """Where the stack's Kafka is: 9092, unless somebody else has it."""
    return connected(Common, environ).kafka_bootstrap


def typed(command: str, environ: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """A command as a reader types it, once it has ended."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def followed(up: Mapping[str, str]) -> list[tuple[str, subprocess.CompletedProcess[str]]]:
    """A reader who has come to the end of the README's commands and the docs', in their order: what each answered."""
    own = [command for command in every_command() if command.startswith(".venv/bin/") and command != UP]
    return [(command, typed(command, up)) for command in own]


@pytest.mark.slow
def test_the_commands_work_as_they_stand(followed: list[tuple[str, subprocess.CompletedProcess[str]]]) -> None:
    """Each command of ours, beside a running `stratagem up`, ends with 0."""
    assert len(followed) > 5
    for command, done in followed:
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        if "watch" in command or "profile" in command:
            assert "customer-" in done.stdout


def first_line(command: list[str], environ: Mapping[str, str]) -> str:
    """What an endless program prints first."""
    with subprocess.Popen(
        command, cwd="/", env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        giving_up = threading.Timer(COMMAND_TIMEOUT_S, process.kill)
        giving_up.start()
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        giving_up.cancel()
        process.kill()
        assert line, process.stderr.read()
    return line


@pytest.mark.slow
@pytest.mark.usefixtures("followed")
def test_the_program_in_python_works(up: Mapping[str, str], tmp_path: Path) -> None:
    """The README's program publishes and prints a strategy, knowing the broker's address alone."""
    (program,) = blocks("python")
    script = tmp_path / "own.py"
    script.write_text(program.replace("localhost:9092", bootstrap_of(up)), encoding="utf-8")
    assert "{'" in first_line([sys.executable, str(script)], up)


@pytest.mark.slow
@pytest.mark.usefixtures("followed")
def test_the_first_calls_over_http_work(up: Mapping[str, str], tmp_path: Path) -> None:
    """The program of docs/http.md, with a key made as it says: an event, a decision, its outcome, what may be shown."""
    text = (ROOT / "docs/http.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (line,) = re.findall(r"KEY=\$\((stratagem keys create [^)]*)\) python", text)
    (tmp_path / "first_calls.py").write_text(program.replace("http://127.0.0.1:8080", up["GATEWAY"]), encoding="utf-8")
    command = f'KEY=$(.venv/bin/{line}) {sys.executable} "{tmp_path}/first_calls.py"'
    done = typed(command, up)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 event in its topic\ndecide: decided\n{'" in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("followed")
def test_kafkas_console_client_works(up: Mapping[str, str], stratagem_home: Path) -> None:
    """Kafka's own console consumer, with the README's arguments, prints a strategy."""
    (command,) = [command for command in commands() if command.startswith("kafka-console-consumer.sh")]
    jars = resolve_jars(f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}", stratagem_home / "cache", lambda _: None)
    java = [str(find_java()), "-cp", ":".join(map(str, jars)), "org.apache.kafka.tools.consumer.ConsoleConsumer"]
    arguments = command.replace("localhost:9092", bootstrap_of(up)).split()[1:]
    assert '"strategy_id"' in first_line([*java, *arguments], up)


@pytest.mark.slow
@pytest.mark.usefixtures("followed")
def test_events_come_by_kafkas_console_client_and_by_curl(
    up: Mapping[str, str], stratagem_home: Path, tmp_path: Path
) -> None:
    """The commands of docs/publishing.md as they stand, each with a customer of its own: both have a profile then."""
    text = (ROOT / "docs/publishing.md").read_text(encoding="utf-8")
    (produced,) = re.findall(r"^kafka-console-producer.sh (.*) < keyed.jsonl$", text, re.MULTILINE)
    (posted,) = re.findall(r"^(KEY=.*\ncurl .*)$", text, re.MULTILINE)
    for user, name, key in (("customer-7", "keyed.jsonl", "customer-7|"), ("customer-8", "events.jsonl", "")):
        (tmp_path / name).write_text(f"{key}{event('Product Viewed', user, product_id='coffee-1')}\n", encoding="utf-8")
    jars = resolve_jars(f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}", stratagem_home / "cache", lambda _: None)
    java = f"{find_java()} -cp {':'.join(map(str, jars))} org.apache.kafka.tools.ConsoleProducer"
    here = f'export PATH={ROOT}/.venv/bin:$PATH; cd "{tmp_path}"; '
    for command in (
        f"{java} {produced.replace('localhost:9092', bootstrap_of(up))} < keyed.jsonl",
        posted.replace("http://127.0.0.1:8080", up["GATEWAY"]),
    ):
        done = typed(here + command, up)
        assert done.returncode == 0, done.stdout + done.stderr
    assert '"accepted":1' in done.stdout
    for user in ("customer-7", "customer-8"):
        eventually(lambda user=user: user in typed(f".venv/bin/stratagem profile {user}", up).stdout, user)  # type: ignore[misc]


ELSEWHERE = {
    "stratagem data prepare": "tests/services/test_cli_prepare.py",
    "stratagem label": "tests/services/test_cli_label.py",
    "stratagem pretrain": "tests/services/test_cli_models.py",
    "stratagem finetune --task response": "tests/services/test_cli_models.py",
    "stratagem finetune --task strategy": "tests/services/test_cli_strategy.py",
    "stratagem tune": "tests/services/test_cli_models.py",
    "stratagem critic-prior": "tests/services/test_critic_prior.py",
    "stratagem evaluate": "tests/services/test_cli_evaluate.py",
    "stratagem adapters": "tests/services/test_cli_adapters.py",
    "stratagem keys create": "tests/services/test_gateway_keys.py",
    "stratagem up --monitoring": "tests/services/test_monitoring.py",
    "stratagem up": "tests/services/test_up.py",
    "make demo": ".ci/run",
    "bash deploy/setup.sh": "tests/deploy/test_setup.py",
    "promtool test rules": "tests/deploy/test_alerts.py",
    "python -m services.dashboards": "tests/services/test_dashboards.py",
    "python -m benchmarks.learning": "tests/benchmarks/test_learning.py",
    "python -m benchmarks.learning.drift": "tests/benchmarks/test_learning_drift.py",
    "python -m benchmarks.learning.report": "tests/benchmarks/test_learning.py",
    "python -m benchmarks.text": "tests/benchmarks/test_text.py",
    "kafka-console-producer.sh": "tests/test_readme.py",
    "kafka-console-consumer.sh": "tests/test_readme.py",
    "curl": "tests/test_readme.py",
}
"""Commands of the docs with a reader's own names and files in them, or that take long → where the same are run with a test's."""
NOWHERE = {
    "docker": "no Docker here: .ci/run builds the image with buildah, and asks Compose's own library about compose.yaml",
    "kubectl": "no cluster here: .ci/run asks a real API server about every overlay",
    "deploy/rollout": "the same; tests/deploy/test_manifests.py compares its order with the manifests'",
    "make bench-env": "packages of the peers, for benchmarks alone",
    "python -m benchmarks.learning.tune": "overnight",
    "redis-cli": "the reader's own tools on the reader's own files",
    "rsync": "the same",
    "cp": "the same",
    "pip install": "a model server of the reader's choice; tests/services/test_writer_served.py runs ours beside a real one",
    "transformers serve": "the same",
}
"""Commands that nothing here runs → why."""


def other_commands() -> Iterator[str]:
    """Every shell command of the docs outside ```bash blocks: without its environment, the folder of its program and its comment."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        fences = re.findall(r"^```(\S*)[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        fenced = [block for language, block in fences if language in ("", "sh")]
        rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        for line in ("\n".join([*fenced, *re.findall(r"^ {4}(\S.*)$", rest, re.MULTILINE)])).splitlines():
            plain = re.sub(r"^(KEY=\$\(|([A-Z_]+=\S+ )*)(\.venv/bin/)?", "", line.partition(" #")[0].strip())
            if re.match(PROGRAMS, plain):
                yield plain


PROGRAMS = (
    r"(stratagem|python|pip|transformers|bash|make|docker|kubectl|deploy/|kafka-|redis-cli|rsync|cp|curl|promtool)\b"
)


def test_every_other_command_is_run_elsewhere_or_said_not_to_be() -> None:
    """None is left that nobody thought of; and where it is said to be run, the words of the command stand."""
    said, used = {**ELSEWHERE, **NOWHERE}, set[str]()
    for command in other_commands():
        fitting = [prefix for prefix in said if re.match(rf"{re.escape(prefix)}(\s|$)", command)]
        assert fitting, command
        used.add(max(fitting, key=len))
    assert used == set(said)
    for prefix, where in ELSEWHERE.items():
        last = re.split(r"[\s/.]", prefix.removesuffix(".sh"))[-1]
        assert last in (ROOT / where).read_text(encoding="utf-8"), prefix
