"""Rates, latencies and trials from the processes' metrics: by hand-computed values."""

import asyncio

import pytest

from services.console.figures import Reading, Samples, figures, quantile, rate, total, trials
from services.console.processes import Watching, addresses
from services.metrics import DEFAULT_PORTS
from services.settings import SettingError
from services.settings_gateway import PROCESS_PORTS, GatewaySettings
from tests.services.gateway_bench import free_port

EVENTS, LATENCY = "stratagem_events_total", "stratagem_request_to_strategy_seconds"


def reading(at_s: float, samples: Samples, process: str = "agents") -> Reading:
    """One process' samples."""
    return Reading(at_s, {process: samples})


def buckets(*counts: float) -> Samples:
    """Edges 0.1, 0.2 and infinity, of two kinds that count alike."""
    pairs = zip(("0.1", "0.2", "+Inf"), counts, strict=True)
    return {f"{LATENCY}_bucket": [({"le": edge, "kind": kind}, c) for edge, c in pairs for kind in ("ad", "ranking")]}


def test_a_rate_is_the_difference_of_a_counter() -> None:
    """Summed over labels; None before there are two readings; a process that began anew counts from zero."""
    old = reading(10.0, {EVENTS: [({"fate": "folded"}, 100.0), ({"fate": "late"}, 1.0)]})
    new = reading(20.0, {EVENTS: [({"fate": "folded"}, 150.0), ({"fate": "late"}, 1.0)]})
    again = reading(30.0, {EVENTS: [({"fate": "folded"}, 30.0)]})
    assert rate(old, new, "agents", EVENTS) == 5.0
    assert rate(old, new, "agents", EVENTS, fate="late") == 0.0
    assert rate(new, again, "agents", EVENTS) == 3.0
    assert rate(old, old, "agents", EVENTS) is None
    assert rate(old, new, "worker", EVENTS) is None
    assert total(old.of["agents"], "nothing") is None


def test_a_quantile_is_linear_within_its_bucket() -> None:
    """10 below 0.1 s and 10 between 0.1 and 0.2 of each kind: the median is 0.1, three quarters 0.15."""
    old, new = reading(0.0, buckets(0, 0, 0), "worker"), reading(2.0, buckets(10, 20, 20), "worker")
    assert quantile(old, new, "worker", LATENCY, 0.5) == pytest.approx(0.1)
    assert quantile(old, new, "worker", LATENCY, 0.75) == pytest.approx(0.15)
    assert quantile(new, new, "worker", LATENCY, 0.5) is None
    beyond = reading(4.0, buckets(10, 20, 120), "worker")
    assert quantile(new, beyond, "worker", LATENCY, 0.99) == pytest.approx(0.2)


def test_a_figure_nobody_tells_is_a_dash() -> None:
    """Of processes that do not answer."""
    texts = {figure.id: figure.text for figure in figures(Reading(0.0, {}), Reading(1.0, {}))}
    assert set(texts.values()) == {"–"}


def test_a_trial_is_told_by_role() -> None:
    """Customers by side, the difference by bound."""
    samples: Samples = {
        "stratagem_trial_customers": [
            ({"role": "canary", "side": "other"}, 9.0),
            ({"role": "anchor", "side": "x"}, 1.0),
        ],
        "stratagem_trial_difference": [({"role": "canary", "bound": "low"}, -0.5)],
    }
    anchor, canary = trials(samples)
    assert (anchor.role, canary.role) == ("anchor", "canary")
    assert (dict(canary.customers), dict(canary.difference), dict(canary.harm)) == ({"other": 9.0}, {"low": -0.5}, {})


def test_addresses_are_read_or_refused() -> None:
    """The default names every process of `up` where it is."""
    assert addresses(" a=h:1, b=[::1]:2 ,") == {"a": "h:1", "b": "[::1]:2"}
    assert {name: port for name, port in DEFAULT_PORTS.items() if name != "shop"} == PROCESS_PORTS
    assert set(addresses(GatewaySettings().console_processes)) == set(PROCESS_PORTS)
    for wrong in ("a", "a=h", "=h:1", "a=h:x", "a=:1"):
        with pytest.raises(SettingError, match="STRATAGEM_CONSOLE_PROCESSES"):
            addresses(wrong)


async def _looked() -> list[str]:
    watching = Watching({"nobody": f"127.0.0.1:{free_port()}"})
    found: list[str] = [process.state for process in (await watching.now()).processes]
    watching.close()
    return found


def test_a_process_that_does_not_answer_is_said_to_be_so() -> None:
    """It holds nobody up."""
    assert asyncio.run(_looked()) == ["unreachable"]
