"""Metrics: standard names, no ids in labels, found by the shipped scrape configuration."""

import re
import urllib.request
from pathlib import Path

from services.metrics import DEFAULT_PORTS, REGISTRY, serve

ROOT = Path(__file__).parents[2]
FORBIDDEN_LABELS = {"user", "user_id", "strategy_id", "message_id", "event_id", "product_id", "request_id"}


def test_names_follow_the_standard() -> None:
    """Every metric has our prefix and help, and counters end in _total when exposed."""
    for family in REGISTRY.collect():
        assert family.name.startswith("stratagem_")
        assert family.documentation
        assert not re.search(r"_(ms|millis|minutes|kb)$", family.name)


def test_no_id_is_a_label() -> None:
    """A label whose values grow with customers or events would kill Prometheus."""
    for collector in REGISTRY._collector_to_names:
        assert not FORBIDDEN_LABELS & set(getattr(collector, "_labelnames", ()))


def test_metrics_are_served_on_loopback() -> None:
    """The exposition answers over HTTP; a taken port falls back to a free one."""
    first, second = serve("shop", "127.0.0.1", 0), serve("shop", "127.0.0.1", 0)
    assert first != second
    with urllib.request.urlopen(f"http://127.0.0.1:{second}/metrics") as response:
        assert b"stratagem_events" in response.read()


def test_the_scrape_configuration_names_every_service() -> None:
    """`deploy/prometheus.yml` lists exactly the default ports."""
    text = (ROOT / "deploy/prometheus.yml").read_text()
    targets = {
        (name, int(port)) for port, name in re.findall(r'127\.0\.0\.1:(\d+)"\]\s+labels: { service: (\w+)', text)
    }
    assert targets == set(DEFAULT_PORTS.items())
