"""Code that runs in an agents process before its main: where it is to die, and which protection it goes without.

Never a setting of the product: the traps replace parts of the edge in the process they run in.
"""

from pathlib import Path

DIES = """
import os, signal, threading, time

_left, _after_s = {left}, {after_s}

def _strike():
    time.sleep(_after_s)
    os.kill(os.getpid(), signal.SIGKILL)

def _step():
    global _left
    _left -= 1
    if _left == 0:
        threading.Thread(target=_strike).start() if _after_s else _strike()

def _doomed(owner, name):
    real = getattr(owner, name)
    if name in ("ack",):
        def step(self, *args, **kwargs):
            _step()
            return real(self, *args, **kwargs)
    else:
        async def step(self, *args, **kwargs):
            _step()
            return await real(self, *args, **kwargs)
    setattr(owner, name, step)
"""

HASTY = """
from streaming import app as _app

_faust_app = _app._faust_app

def _hasty(settings):
    made = _faust_app(settings)
    made.conf.broker_commit_interval = 0.01
    return made

_app._faust_app = _hasty
"""
"""Commits a hundred times a second, so that a process that lives for a moment has committed something, and has left something."""

STEPS = {
    "before the script that writes rows": ("streaming.store", "Store", "write"),
    "between the script and the publication": ("streaming.outbox", "Outbox", "publish"),
    "amid the publication": ("streaming.outbox", "Outbox", "_hand_over"),
    "between the publication and the clearing": ("streaming.store", "Store", "clear"),
    "between the buckets and the seal": ("streaming.processor", "Processor", "_seal"),
    "between the seal and the timers": ("streaming.timers", "Timers", "after_batch"),
    "between the clearing and the acknowledgement": ("streaming.batches", "BatchConsumer", "ack"),
    "between the acknowledgement and the commit": ("streaming.batches", "BatchConsumer", "_commit"),
}
"""Steps of a batch, by the call before which the process dies."""

EVERY_STEP = (
    *STEPS.values(),
    ("streaming.store", "Store", "load"),
    ("streaming.store", "Store", "look"),
    ("streaming.store", "Store", "due"),
    ("streaming.store", "Store", "leftovers"),
)


def dies_before(step: tuple[str, str, str], calls: int) -> str:
    """The process dies before the `calls`-th call of a method."""
    return HASTY + DIES.format(left=calls, after_s=0) + _doomed(step)


def dies_after(steps: int, after_s: float) -> str:
    """The process dies some microseconds after the `steps`-th step of any kind: in the middle of whatever it does then."""
    return HASTY + DIES.format(left=steps, after_s=after_s) + "".join(_doomed(step) for step in EVERY_STEP)


def _doomed(step: tuple[str, str, str]) -> str:
    module, owner, name = step
    return f"from {module} import {owner}\n_doomed({owner}, {name!r})\n"


DIES_BETWEEN_BUCKETS = (
    HASTY
    + DIES.format(left=1, after_s=0)
    + """
from streaming.store import Store

_write = Store.write

async def _one_by_one(self, all_writes):
    added = {}
    for number, writes in all_writes.items():
        if added:
            _step()
        added |= await _write(self, {number: writes})
    return added

Store.write = _one_by_one
"""
)
"""A batch's first bucket is written, and the process dies before its second."""


def paced(wait_s: float, hurry: Path) -> str:
    """Each batch waits a little until there is this file, so that a replay lasts for some rebalances."""
    return _PACED.format(wait_s=wait_s, hurry=str(hurry))


_PACED = """
import asyncio, os
from streaming.processor import Processor

_at_once = Processor._apply

async def _paced(self, batch):
    if not os.path.exists({hurry!r}):
        await asyncio.sleep({wait_s})
    await _at_once(self, batch)

Processor._apply = _paced
"""


def freezes(flag: Path) -> str:
    """Once the file is there, the process stops itself (SIGSTOP) before its next write, having read what it writes."""
    return _FREEZES.format(flag=str(flag))


_FREEZES = """
import os, signal
from streaming.store import Store

_moving = Store.write

async def _frozen(self, all_writes):
    if all_writes and os.path.exists({flag!r}):
        os.remove({flag!r})
        os.kill(os.getpid(), signal.SIGSTOP)
    return await _moving(self, all_writes)

Store.write = _frozen
"""

# -- protections switched off

NO_REPLAY_GUARD = """
from streaming.bucket import Bucket
from streaming.keys import seal_field
from streaming.processor import Processor

_apply = Processor._apply

async def _again(self, batch):
    await self.load([batch.partition])
    home = self.store.bucket(batch.partition)
    if home.sealed(batch.topic, batch.partition) > batch.records[0].offset:
        home.meta[seal_field(batch.topic, batch.partition)] = str(batch.records[0].offset)
    await _apply(self, batch)

Processor._apply = _again
Bucket.applied = lambda *_: 0
"""
"""What was applied is applied again when it is read again."""

NO_MEMORY_OF_IDS = """
from streaming import core as _core

_core.remembers = lambda *_: False
"""
"""A message id is forgotten at once."""

CLEARED_FIRST = """
from streaming.contracts.topics import DEAD_LETTERS, REWARDS
from streaming.effects import MERGE
from streaming.outbox import Outbox
from streaming.processor import Processor

_release = Processor.release

async def _risk(self):
    pass

async def _careless(self, entries):
    await self.store.clear({n: [id_ for id_, each in listed if each.topic != MERGE] for n, listed in entries.items()})
    if any(each.topic in (DEAD_LETTERS.name, REWARDS.name) for listed in entries.values() for _, each in listed):
        await self.outbox.risk()
    await _release(self, entries)

Outbox.risk = _risk
Processor.release = _careless
"""
"""Outboxes are cleared before their messages are published."""
WITH_WHAT_IS_COMPARED = ("streaming.outbox", "Outbox", "risk")
"""A step of `CLEARED_FIRST`: cleared, and not published yet, is a letter or a reward."""

NO_VERSION_CHECK = """
from streaming import store as _store

_checked = "if found ~= ARGV[1] then"
assert _checked in _store._SCRIPT
_store._SCRIPT = _store._SCRIPT.replace(_checked, "if false then")
"""
"""The script writes whatever version was read: the last writer wins."""

HORIZON_OF_THE_FASTEST = """
from streaming import timers as _timers

_timers.lowest = lambda watermarks: max((each for each in watermarks if each is not None), default=None)
"""
"""Windows close when one of the inputs has passed their end, whatever the others may still bring."""

FOLDS_BY_ARRIVAL = """
import msgspec
from streaming import core as _core

_fold, _latest_ms = _core.fold, {}

def _in_order_of_arrival(profile, event, reference):
    at_ms = max(_latest_ms.get(event.user_id, 0), event.at_ms)
    _latest_ms[event.user_id] = at_ms
    return _fold(profile, msgspec.structs.replace(event, at_ms=at_ms), reference)

_core.fold = _in_order_of_arrival
"""
"""What is read later of a customer counts as no earlier than what was read before."""

FORGETS_FAILURES = """
from pathlib import Path
from streaming.contracts.errors import Unavailable
from streaming.processor import Processor
_apply = Processor._apply

async def _always(self, batch, sealed):
    return True

async def _once(self, batch):
    try:
        await _apply(self, batch)
    except Unavailable:
        Path({forgotten!r}).touch()

Processor._apply, Processor._joins = _once, _always
"""
"""A batch is tried once, and the second net is gone too: a gap between what was applied and what comes is not read again."""

SEALS_OF_OTHERS = """
from streaming.processor import Processor
from streaming.store import Store
_write, _seal, _fold = Store.write, Processor._seal, Processor._fold
_last = -1

async def _home_first(self, all_writes):
    global _last
    in_order = dict(sorted(all_writes.items()))
    for number, writes in in_order.items():
        _last = number if any(name.endswith("|folded") for name in writes.counts) else -1
    return await _write(self, in_order)

async def _noted(self, *args):
    global _last
    _last = -1
    await _fold(self, *args)

async def _seal_of_others(self, *args):
    await _seal(self, *args)

async def _by_what_was_last(self, *args):
    await (self.seal_of_others(*args) if _last >= self.layout.partitions else _seal(self, *args))

Store.write, Processor._fold = _home_first, _noted
Processor._seal, Processor.seal_of_others = _by_what_was_last, _seal_of_others
"""
"""`seal_of_others`: the seal of a batch whose last write folded records into a bucket that is no home: a home's version would tell."""

GOES_ON_OVER_ANY_CONNECTION = """
from streaming.queries import Queries
from streaming.store import Store
Store._greet = Queries._greet
"""
"""A turn goes on where its connection was lost, over a new one."""
