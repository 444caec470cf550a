"""Records fed to attribution one by one, by the due times that it states itself."""

import msgspec

from streaming.attribution import next_due_ms, on_event, on_strategy, on_time
from streaming.contracts.events import Event
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy
from streaming.open_state import OpenState, Step, Unbooked, UnknownStrategy, Windows
from tests.streaming.attribution_samples import SHELF, WINDOWS, at


class Played:
    """Records fed one by one with a watermark that only moves when told to."""

    def __init__(self, windows: Windows = WINDOWS) -> None:
        """Nothing known yet."""
        self.state, self.windows, self.now_ms = OpenState(), windows, at(0)
        self.rewards: list[Reward] = []
        self.unknown: list[UnknownStrategy] = []
        self.unbooked: list[Unbooked] = []
        self.unmatched = 0

    def feed(self, *records: Event | Strategy) -> list[Reward]:
        """Rewards published at once by these records."""
        before = len(self.rewards)
        for record in records:
            if isinstance(record, Strategy):
                self._take(on_strategy(self.state, record, self.now_ms, self.windows))
            else:
                self._take(on_event(self.state, record, SHELF, self.now_ms, self.windows))
        return self.rewards[before:]

    def until(self, hours: float) -> list[Reward]:
        """Rewards published when the watermark reaches that hour, by the due times alone."""
        before = len(self.rewards)
        while (due := next_due_ms(self.state, self.windows)) is not None and due <= at(hours):
            self.now_ms = max(self.now_ms, due)
            self._take(on_time(self.state, self.now_ms, self.windows))
            after = next_due_ms(self.state, self.windows)
            assert after is None or after > self.now_ms, "a due time that does not move would fire for ever"
        self.now_ms = at(hours)
        return self.rewards[before:]

    def _take(self, step: Step) -> None:
        coded = msgspec.json.encode(step.state)
        self.state = msgspec.json.decode(coded, type=OpenState)
        assert self.state == step.state
        self.rewards += step.rewards
        self.unknown += step.unknown
        self.unbooked += step.unbooked
        self.unmatched += step.unmatched


def only(rewards: list[Reward], stage: str) -> Reward:
    """The one reward, of the given stage."""
    assert [reward.stage for reward in rewards] == [stage]
    return rewards[0]
