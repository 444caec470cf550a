"""Commits never pass what is in flight."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.offsets import PrefixLedger


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    gaps=st.lists(st.integers(0, 9), min_size=30, max_size=30),
    order=st.randoms(use_true_random=False),
)
@settings(derandomize=True, deadline=None)
def test_only_the_acknowledged_prefix_is_committed(sizes: list[int], gaps: list[int], order: object) -> None:
    """Whatever the order of acknowledgements, the position is the end of the longest acknowledged prefix."""
    ledger = PrefixLedger()
    lasts = []
    offset = 0
    for size, gap in zip(sizes, gaps, strict=False):
        offset += gap + size
        lasts.append(offset - 1)
        ledger.deliver(offset - 1)
    waiting = list(lasts)
    order.shuffle(waiting)  # type: ignore[attr-defined]
    acked: set[int] = set()
    for last in waiting:
        ledger.ack(last)
        acked.add(last)
        prefix = [each for i, each in enumerate(lasts) if set(lasts[: i + 1]) <= acked]
        assert ledger.position() == (prefix[-1] + 1 if prefix else None)
        assert ledger.in_flight == len(lasts) - len(prefix)


def test_batches_may_be_delivered_while_others_are_acknowledged() -> None:
    """A later delivery does not move the position; its own acknowledgement does."""
    ledger = PrefixLedger()
    ledger.deliver(9)
    ledger.ack(9)
    assert ledger.position() == 10
    ledger.deliver(29)
    assert ledger.position() == 10
    ledger.ack(29)
    assert ledger.position() == 30


def test_acknowledgements_from_before_a_seek_do_not_count() -> None:
    """After `clear` an acknowledgement of a batch delivered before is ignored."""
    ledger = PrefixLedger()
    ledger.deliver(9)
    ledger.clear()
    ledger.ack(9)
    assert ledger.position() is None
    assert ledger.in_flight == 0
