"""The one command, `stratagem`. Nothing heavy is imported before the chosen command needs it.

Exit codes: 0 done, 1 (EXIT_FOUND) it ran and found something wrong, 2 wrong usage or settings, 3 something needed is not there.
"""

import logging
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click

from services.cli_data import COMMANDS
from services.cli_evaluate import evaluate
from services.cli_keys import keys
from services.cli_label import label
from services.cli_letters import dead_letters
from services.cli_models import finetune
from services.cli_prepare import data
from services.cli_pretrain import pretrain
from services.cli_prior import critic_prior
from services.cli_tune import tune

if TYPE_CHECKING:
    from services.settings import Common

EXIT_INTERRUPTED = 130


class _Group(click.Group):
    """Turns what stops a command into one clear line and a code that means something."""

    def invoke(self, ctx: click.Context) -> Any:
        _quiet_clients()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail("interrupted", EXIT_INTERRUPTED)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            from services.cli_errors import explained

            found = explained(error, os.environ)
            if found is None:
                raise
            _fail(*found)


def _quiet_clients() -> None:
    """Kafka's client logs every failed attempt; a command says once what came of it. Services turn its log on again."""
    client = logging.getLogger("kafka")
    client.addHandler(logging.NullHandler())
    client.propagate = False


def _fail(message: str, code: int) -> None:
    click.echo(f"stratagem: {message}", err=True)
    sys.exit(code)


def _say(message: str) -> None:
    click.echo(f"stratagem: {message}", err=True)


def _logging(settings: "Common", service: str) -> None:
    from services import logs, tracing

    logs.configure(settings, service)
    tracing.configure(settings, service)
    client = logging.getLogger("kafka")
    client.propagate = True
    client.setLevel(
        logging.DEBUG if settings.log_level == "DEBUG" else logging.WARNING
    )  # its INFO tells every connection


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("stratagem"), prog_name="stratagem")
def main() -> None:
    """Marketing strategies written by a language model that keeps learning from what customers do.

    Start with `stratagem demo` (real purchases replayed, everything on this machine) or `stratagem up` (an embedded
    Kafka and Redis and all services, waiting for your events), then `stratagem publish FILE` and `stratagem watch
    strategies`.

    Settings are environment variables STRATAGEM_*; the README lists them. With STRATAGEM_KAFKA_BOOTSTRAP and
    STRATAGEM_REDIS_URL set, your own Kafka and Redis are used.

    Exit codes: 0 done; 1 something was found wrong (an event refused, books that do not balance); 2 wrong usage or
    settings; 3 something needed is missing or died.
    """


@main.command()
@click.option("--minutes", type=click.FloatRange(0.5, 120), envvar="DEMO_MINUTES", default=6.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=None, help="Of the simulated customers.")
def demo(minutes: float, seed: int | None) -> None:
    """Replay real purchases against simulated customers, live, and check the books.

    Starts a fresh embedded stack and all services below .stratagem/demo, plays the shop for the given number of
    minutes, shows what happens, and writes .stratagem/demo/report.html and report.json. Exits with 1 unless nothing
    was lost and the books balance. A demo of five minutes or more must also show adapters promoted and swapped in, a
    corrupt one refused, a harmful one kept out, and the served arm earning more than the random one.
    """
    from services.shop.demo import run

    sys.exit(run(os.environ, minutes=minutes, seed=seed, progress=_say))


@main.command()
@click.option("--monitoring", is_flag=True, help="A Prometheus (on PATH) beside them, with deploy/prometheus.yml.")
def up(*, monitoring: bool) -> None:
    """Run the embedded Kafka and Redis and all services until Ctrl-C; data are kept between runs.

    With STRATAGEM_KAFKA_BOOTSTRAP and STRATAGEM_REDIS_URL set, the services alone. A service that ends is started
    again; each says where its log and its metrics are.
    """
    from services.up import run

    run(os.environ, _say, monitoring=monitoring)


def _service(module: str, settings_name: str, known: str = "services.settings") -> None:
    import importlib

    from services.endpoints import connected
    from services.sharing import bound_threads, step_back

    settings = connected(getattr(importlib.import_module(known), settings_name), os.environ)
    _logging(settings, module.rpartition(".")[2])
    bound_threads(os.environ, getattr(settings, "threads", 1))
    step_back(getattr(settings, "niceness", 0))
    sys.exit(importlib.import_module(module).main(settings))


@main.command()
def agents() -> None:
    """Run the Faust agents: profiles, triggers, attribution. Start more of them to share the partitions."""
    _service("services.agents", "AgentsSettings")


@main.command()
def worker() -> None:
    """Run a model worker: requests in, strategies out. Start more of them to share the partitions."""
    _service("services.worker", "WriterSettings", "services.settings_writer")


@main.command()
def updater() -> None:
    """Run the updater: rewards in, critics and adapters out. Of several one works, the others stand by."""
    _service("services.updater", "UpdaterSettings")


@main.command()
def gateway() -> None:
    """Run the HTTP gateway, for shops that do not speak Kafka. `stratagem keys create` makes a key for it.

    It listens on loopback unless STRATAGEM_GATEWAY_HOST says otherwise. Start more of them behind one address to share the
    load.
    """
    _service("services.gateway", "GatewaySettings", "services.settings_gateway")


@main.command(hidden=True)
def shop() -> None:
    """Run the simulated shop of the demo."""
    _service("services.shop.replay", "ShopSettings")


@main.command()
def topics() -> None:
    """Create the topics that are missing and check those that exist; says what does not fit."""
    from services.endpoints import connected
    from services.settings import Common
    from services.topics import ensure_topics

    for line in ensure_topics(connected(Common, os.environ)):
        click.echo(line)


for _command in (*COMMANDS, critic_prior, dead_letters, data, evaluate, finetune, keys, label, pretrain, tune):
    main.add_command(_command)

if __name__ == "__main__":
    main()
