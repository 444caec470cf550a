"""A container's health check says what the service says."""

import subprocess
import sys

from prometheus_client import CollectorRegistry

from services.health import HEALTHY, Health, listen
from services.probe import illness


def test_it_fails_with_the_services_own_words() -> None:
    """Not ready: the line why; ready: nothing. Alive is another question."""
    health = Health("kafka")
    port = listen("127.0.0.1", 0, health, CollectorRegistry())
    assert illness(port) == "kafka: starting"
    assert illness(port, HEALTHY) == ""
    health.met("kafka")
    assert illness(port) == ""


def test_the_command_tells_by_its_code() -> None:
    """As a container's runtime asks it, also where nobody listens."""
    health = Health("kafka")
    port = listen("127.0.0.1", 0, health, CollectorRegistry())
    ask = [sys.executable, "-m", "services.probe", str(port)]
    done = subprocess.run(ask, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "kafka: starting\n")
    health.met("kafka")
    assert subprocess.run(ask, check=False).returncode == 0
    assert "refused" in illness(1)
