"""`make simulate`: world after world, each of another seed, for as long as told. It ends with how many
lived, node-days a minute, and each seed that failed with the command that replays it."""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from multiprocessing import Process, Queue
from types import FrameType
from typing import Any

import structlog

from beira.kernel import limits
from tests.simulation.life import live
from tests.simulation.virtual import run_virtual

PROCESSES = 2
WORLD_S = 120
SHORT = {
    "CHECK_EVERY_S": 100,
    "CHECK_FULLY_EVERY_S": 400,
    "UNCHECKED_MOST_S": 200,
    "TOMBSTONE_LEAST_S": 300,
    "NODE_AWAY_MOST_S": 3_000,
}
"""Worn worlds: weeks of one tick a second are long even in virtual time, so they are minutes."""
_LONG = {name: getattr(limits, name) for name in SHORT}


class TooLong(BaseException):
    """A world took more of the machine's time than any should."""


@dataclass
class Tally:
    worlds: int = 0
    node_days: float = 0.0
    failed: list[str] = field(default_factory=list)


def one(seed: int) -> float:
    """Live through one world; every third is a worn one. Returns its node-days."""
    worn = seed % 3 == 0
    for name, value in (SHORT if worn else _LONG).items():
        setattr(limits, name, value)
    return run_virtual(live(seed, worn=worn)).node_days


def replay(seed: int) -> str:
    return f"BEIRA_SEED={seed} PYTHONHASHSEED=0 .venv/bin/python -m tests.simulation.simulate"


def _ring(number: int, frame: FrameType | None) -> None:
    raise TooLong(f"{WORLD_S} s")


def _work(first: int, seconds: float, told: Queue[Any]) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    signal.signal(signal.SIGALRM, _ring)
    until_s, seed = time.monotonic() + seconds, first
    while time.monotonic() < until_s:
        signal.alarm(WORLD_S)
        try:
            told.put((seed, one(seed), ""))
        except (Exception, TooLong) as error:
            told.put((seed, 0.0, f"{type(error).__name__}: {error}"))
        signal.alarm(0)
        seed += PROCESSES
    told.put(None)


def many(seconds: float, first: int) -> Tally:
    """Worlds from seed `first` on, in a few processes."""
    told: Queue[Any] = Queue()
    workers = [Process(target=_work, args=(first + n, seconds, told)) for n in range(PROCESSES)]
    for worker in workers:
        worker.start()
    tally, ended = Tally(), 0
    while ended < PROCESSES:
        heard = told.get()
        if heard is None:
            ended += 1
            continue
        seed, node_days, why = heard
        tally.worlds += 1
        tally.node_days += node_days
        if why:
            tally.failed.append(f"seed {seed}: {why[:600]}\n  {replay(seed)}")
            print(tally.failed[-1], flush=True)
    for worker in workers:
        worker.join()
    return tally


def main() -> int:
    asked = argparse.ArgumentParser()
    asked.add_argument("--seconds", type=float, default=600)
    asked.add_argument("--first", type=int, default=0, help="the first seed; drawn if not given")
    options = asked.parse_args()
    if "BEIRA_SEED" in os.environ:
        print(f"{one(int(os.environ['BEIRA_SEED'])):.3f} node-days, and nothing wrong")
        return 0
    if os.environ.get("PYTHONHASHSEED") != "0":  # a seed must mean the same world everywhere
        return subprocess.call(
            [sys.executable, "-m", "tests.simulation.simulate", *sys.argv[1:]],
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
    first = options.first or secrets.randbelow(10**9)
    began_s = time.monotonic()
    tally = many(options.seconds, first)
    minutes = (time.monotonic() - began_s) / 60
    print(
        f"worlds={tally.worlds} failed={len(tally.failed)} first_seed={first}"
        f" minutes={minutes:.1f} node_days={tally.node_days:.1f}"
        f" node_days_per_minute={tally.node_days / minutes:.2f}"
    )
    return 1 if tally.failed else 0


if __name__ == "__main__":
    random.seed(0)
    sys.exit(main())
