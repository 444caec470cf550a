"""Runs of several arms at once, one process each, kept block by block; what is kept already is not run again."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Manager, get_context
from pathlib import Path
from queue import Queue
from typing import Any

import msgspec

from benchmarks.learning.arms import Knobs, make
from benchmarks.learning.play import play
from benchmarks.learning.results import Line, code_of, covers, line_of, path_of, read
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import World
from services.sharing import bound_threads


class Task(msgspec.Struct, frozen=True):
    """One arm through one seed's world."""

    seed: int
    arm: str
    count: int
    world: WorldKnobs
    results: Path
    knobs: Knobs | None = None


HEAVIEST_FIRST = ("fused", "lm", "fused_frozen", "frozen", "linucb", "lints", "epsilon", "vw", "critic", "random")


def run_task(task: Task) -> Iterator[Line]:
    """The arm's lines: from the file if it covers them, else played, each written as soon as its block has ended."""
    code = code_of(task.arm, task.world, task.knobs)
    path = path_of(task.results, task.seed, task.arm, code)
    kept = read(path)
    if covers(kept, task.count):
        yield from kept[: -(-task.count // 1000)]
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    world = World(task.seed, task.world)
    with partial.open("wb") as out:
        for block in play(world, make(task.arm, world, task.knobs), task.count):
            line = line_of(task.seed, task.arm, task.count, code, task.knobs, block)
            out.write(msgspec.json.encode(line) + b"\n")
            out.flush()
            yield line
    partial.replace(path)


def run_all(tasks: list[Task], processes: int) -> Iterator[Line]:
    """Lines of all tasks as they come, in as many processes of one thread each: more would only wait for each other."""
    bound_threads(os.environ, 1)
    tasks = sorted(tasks, key=lambda task: HEAVIEST_FIRST.index(task.arm))
    if processes <= 1:
        for task in tasks:
            yield from run_task(task)
        return
    with Manager() as manager:
        lines: Queue[Any] = manager.Queue()
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            running = [pool.submit(_tell, task, lines) for task in tasks]
            left = len(running)
            while left:
                said = lines.get()
                if said is None:
                    left -= 1
                else:
                    yield said
            for done in running:
                done.result()


def _tell(task: Task, lines: "Queue[Any]") -> None:
    try:
        for line in run_task(task):
            lines.put(line)
    finally:
        lines.put(None)
