"""What the streaming edges report. `services` maps facts to metrics; nothing here knows Prometheus."""

from typing import Protocol

ITEMS = "stratagem.items"
"""Logger of single requests, strategies and rewards, by their ids; silent unless it is given a level."""


class Facts(Protocol):
    """An observer. Names are those of `services/metrics.py` in lower case; labels never hold an id."""

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Something happened `amount` times."""
        ...

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Something stands at `value` now."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """One measurement of a distribution."""
        ...


class Silent:
    """An observer that looks away; for tools and tests."""

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Nothing."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Nothing."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Nothing."""
