"""One wait for something unavailable: said when it begins, every minute, and when it is over, not at every try. Pure."""

REMIND_S = 60.0


def awaited(error: BaseException) -> str:
    """What did not answer, as a metric's label: the edges' errors begin with its name."""
    return "redis" if "Redis" in str(error) else "kafka"


class Wait:
    """What is waited for, since when, and what has been said of it.

    Attributes:
        on: `redis`, `kafka` or another word for a metric's label; empty while nothing is waited for.
    """

    def __init__(self) -> None:
        """Nothing is waited for."""
        self.on = ""
        self._since_s = 0.0
        self._said_s = 0.0
        self._tries = 0

    def failed(self, on: str, error: object, now_s: float) -> str | None:
        """A try has failed.

        Args:
            now_s: of any clock that does not go back.

        Returns:
            A line for the log, where there is something to say.
        """
        begins, self.on = self.on != on, on
        if begins:
            self._since_s = self._said_s = now_s
            self._tries = 1
            return f"waiting for {on}: {error}"
        self._tries += 1
        if now_s - self._said_s < REMIND_S:
            return None
        self._said_s = now_s
        return f"still waiting for {on}, {now_s - self._since_s:.0f} s and {self._tries} tries so far: {error}"

    def over(self, now_s: float) -> str | None:
        """A try has succeeded; a line for the log, if there was a wait."""
        if not self.on:
            return None
        said = f"{self.on} answers again after {now_s - self._since_s:.1f} s and {self._tries} failed tries"
        self.on = ""
        return said
