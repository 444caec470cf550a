"""`stratagem demo`: a fresh stack, all services and the shop; a live view; then the books and the report.

Edge. It starts processes, watches topics, and slips a corrupt and a harmful adapter into the registry's inbox, as a
careless operator might.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.live import Live

from services.endpoints import connected
from services.settings import Common, ShopSettings, WorkerSettings, load
from services.shop.books import Evidence, collect, read_fates
from services.shop.claims import FULL_MINUTES, LONG_MINUTES, adapters_earn, claims
from services.shop.oracle import Baseline, baselines
from services.shop.report import write_report
from services.shop.spoiled import slip_corrupt_adapter, slip_harmful_adapter
from services.shop.summary import AdaptersWorth, in_full, in_words, summarise, unbalanced
from services.shop.view import View
from services.shop.world import World, load_world
from services.up import Supervisor
from services.valuing import formula_of

OVERHEAD_MINUTES = 1.0
"""Of the given minutes, what start, closing of windows and report take."""
LEAST_VISITS_MINUTES = 0.5
SPOILED_AT_SHARE = 0.5
"""The spoiled adapters come once this share of the visits' time has passed and there is an adapter to spoil."""
END_PATIENCE_S = 210.0
"""Wall seconds the shop may take beyond its visits: for its start, and to let every window close."""
SETTLE_PATIENCE_S = 20.0
PACE = {
    "STRATAGEM_RESPONSE_WINDOW_H": "8",
    "STRATAGEM_HORIZON_H": "36",
    "STRATAGEM_TRAIN_EVERY": "12",
    "STRATAGEM_CANDIDATE_EVERY_STEPS": "25",
    "STRATAGEM_CAMPAIGN_RATE_PER_S": "0.05",
}
"""Settings of the demo where the environment has none: groceries are decided on within hours, and a few minutes of wall
time are some ten days and a few thousand strategies, so windows are shorter and adapters come sooner than by default. The
rate is of event time, which runs some two thousand times as fast as the wall here: a campaign's start then reaches
everybody within hours of the shop, and a worker on two cores is not given minutes of work at once."""
PLAIN_EVERY_S = 10.0
"""Where the output is no terminal, a line this often."""


class Played(msgspec.Struct, frozen=True):
    """How the demo went, beside what was read back.

    Args:
        ended: the shop played to its end.
        reached_ms: when Kafka and Redis answered, epoch milliseconds.
        minutes: that were asked for.
        base_model: the worker's.
    """

    ended: bool
    reached_ms: int
    minutes: float
    base_model: str


def run(environ: Mapping[str, str], *, minutes: float, seed: int | None, progress: Callable[[str], None]) -> int:
    """Run the demo.

    Args:
        environ: settings; data go below `STRATAGEM_HOME`/demo.
        minutes: of wall time, start and report included, roughly.
        seed: of the simulated customers; None takes the setting's.
        progress: told, in a few words, what is being done.

    Returns:
        0 when nothing was lost, the books balance and, at full length, every claim was shown; else 1.
    """
    base = load(Common, environ)
    home = base.home.absolute() / "demo"
    shutil.rmtree(home, ignore_errors=True)
    visits = max(minutes - OVERHEAD_MINUTES, LEAST_VISITS_MINUTES)
    own = {
        "STRATAGEM_HOME": str(home),
        "STRATAGEM_CACHE": environ.get("STRATAGEM_CACHE", "") or str(base.home.absolute() / "cache"),
        "STRATAGEM_CLOCK": "replay",
        "STRATAGEM_DEMO_MINUTES": str(visits),
    }
    for name, value in PACE.items():
        own[name] = environ.get(name, "") or value
    if seed is not None:
        own["STRATAGEM_DEMO_SEED"] = str(seed)
    with Supervisor({**environ, **own}, fresh=True, progress=progress) as supervisor:
        settings = connected(ShopSettings, supervisor.environ)
        ended = play(supervisor, settings, visits * 60.0, progress)
        progress("reading topics and rows back")
        evidence = settled_evidence(settings, supervisor.log_of("worker"))
        model = load(WorkerSettings, supervisor.environ).base_model
        played = Played(ended, supervisor.reached_ms, minutes, model)
    return conclude(home, settings, evidence, progress, played)


def play(supervisor: Supervisor, settings: ShopSettings, visits_s: float, progress: Callable[[str], None]) -> bool:
    """Run the shop under the live view until it ends; False when it failed or did not end in time."""
    console = Console()
    view = View(settings, f"Stratagem demo, seed {settings.demo_seed}: real purchases, simulated answers")
    shop = supervisor.start("shop")
    began_s = told_s = time.monotonic()
    spoiled, status = False, None
    try:
        with Live(view.draw(), console=console, refresh_per_second=2, transient=True) as live:
            while status is None and time.monotonic() - began_s < visits_s + END_PATIENCE_S:
                status = shop.wait(0.4)
                supervisor.check()
                view.read(timeout_ms=100)
                live.update(view.draw())
                if not spoiled and time.monotonic() - began_s > visits_s * SPOILED_AT_SHARE:
                    spoiled = slip_corrupt_adapter(settings.home) and slip_harmful_adapter(settings.home)
                if not console.is_terminal and time.monotonic() - told_s > PLAIN_EVERY_S:
                    told_s = time.monotonic()
                    progress(view.facts())
    finally:
        view.close()
    if status != 0:
        progress(f"the shop ended with status {status}; its log ends:\n{shop.tail()}")
    return status == 0


def settled_evidence(settings: ShopSettings, worker_log: Path) -> Evidence:
    """Read the books back once the agents' outboxes are empty and their fates no longer change."""
    before, until_s = read_fates(settings), time.monotonic() + SETTLE_PATIENCE_S
    while time.monotonic() < until_s:
        time.sleep(1.0)
        now = read_fates(settings)
        if now == before and now[2] == 0:
            break
        before = now
    return collect(settings, worker_log)


def rebuilt(settings: ShopSettings) -> World:
    """The simulated customers of this demo, from their seed."""
    return load_world(None, seed=settings.demo_seed, households=settings.demo_households, days=settings.demo_days)


def worth_for(settings: ShopSettings, evidence: Evidence, base_model: str) -> AdaptersWorth | None:
    """What the adapters of arm `lm` brought over the base that was served. Torch is loaded here."""
    from model.lm import LanguageModel
    from services.shop.adapters_worth import adapters_worth

    strategies = [strategy for strategy, _ in evidence.strategies.values()]
    lm = LanguageModel.load(base_model)
    rng = np.random.default_rng(settings.demo_seed)
    return adapters_worth(rebuilt(settings), strategies, formula_of(settings), lm, rng)


def baseline_for(settings: ShopSettings, evidence: Evidence) -> Baseline | None:
    """Oracle and random reward of the demo's own requests."""
    world = rebuilt(settings)
    return baselines(world, [request for request, _ in evidence.requests.values()], formula_of(settings))


def conclude(
    folder: Path,
    settings: ShopSettings,
    evidence: Evidence,
    progress: Callable[[str], None],
    played: Played,
) -> int:
    """Sum up, write the report, say what is wrong; a demo of full length answers for its claims as well.

    Returns:
        The exit code.
    """
    baseline = baseline_for(settings, evidence)
    summary = summarise(evidence, baseline)
    faults = [f"BOOKS: {fault}" for fault in unbalanced(evidence)]
    faults += [] if played.ended else ["the shop did not play to its end"]
    judged, worth = claims(summary, evidence, played.reached_ms), None
    if full := played.minutes >= FULL_MINUTES:
        progress("valuing what the adapters brought")
        worth = worth_for(settings, evidence, played.base_model)
    judged += [adapters_earn(worth)] if played.minutes >= LONG_MINUTES else []
    if full:
        faults += [f"NOT SHOWN: {claim.text}" for claim in judged if not claim.held]
    also = [] if worth is None else [in_full(worth)]
    write_report(folder, summary, evidence, baseline, faults, also)
    for line in [*in_words(summary), *also, *(claim.text for claim in judged if claim.held and claim.text not in also)]:
        progress(line)
    progress(f"report: {folder / 'report.html'}")
    for fault in faults:
        progress(fault)
    return 0 if summary.lost == 0 and not faults else 1
