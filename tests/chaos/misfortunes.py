"""What befalls a fleet, all of it at once: each program, each line and the database has its own bad
luck, from a seed of its own, until so many programs were killed.

Half of the time the next misfortune waits until something more has come across, wherever that was
possible at all: a fleet in which nothing moves would prove nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg

from tests.acceptance.support import until
from tests.chaos.fleet import Fleet, in_postgres
from tests.chaos.line import FAIR, Line, Weather
from tests.chaos.programs import Forked

AT_A_BAD_MOMENT = 0.3
"""The share of kills that come while a program is still starting."""
STARTS_WITHIN_S = 1.0
LOOK_EVERY_S, LOOK_WITHIN_S = 0.3, 3.0
LIVES_WITHIN_S = 5.0
ACROSS_WITHIN_S = 15.0
"""So long one waits for something to come across."""
WEATHERS = (
    FAIR,
    Weather(delay_s=0.05),
    Weather(delay_s=0.4, lost=0.02),
    Weather(bytes_per_s=8_000),
    Weather(delay_s=0.1, bytes_per_s=64_000, lost=0.05),
    Weather(resets_within_bytes=20_000),
    Weather(delay_s=0.02, lost=0.2, resets_within_bytes=200_000),
)


async def live(made: Fleet, kills: int, seed: int) -> None:
    """Misfortunes of every kind beside each other, until so many programs were killed."""

    def chance(name: str) -> random.Random:
        return random.Random(f"{seed} {name}")

    def over() -> bool:
        return made.kills >= kills

    lives: list[Callable[[], Awaitable[None]]] = [
        *(lambda p=p: _killed(made, p, chance(p.log.stem), over) for p in made.programs),
        *(
            lambda at=at: _bad_line(made, made.lines[at], chance(f"line-{at}"), over)
            for at in range(len(made.lines))
        ),
        lambda: _bad_database(made, chance("database"), kills, over),
    ]
    watching = asyncio.create_task(_watched(made))
    try:
        async with asyncio.TaskGroup() as together:
            for one in lives:
                together.create_task(one())  # type: ignore[arg-type]
    finally:
        watching.cancel()
    for line in made.lines:
        await _mended(line)


async def _watched(made: Fleet) -> None:
    """Look how much has come across, whenever the database lets one look."""
    while True:
        with contextlib.suppress(
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError
        ):
            async with asyncio.timeout(LOOK_WITHIN_S):
                made.across = (await in_postgres(made)).total()
        await asyncio.sleep(LOOK_EVERY_S)


async def _killed(
    made: Fleet, program: Forked, chance: random.Random, over: Callable[[], bool]
) -> None:
    """One program dies at a random moment, and is started again."""
    while not over():
        if chance.random() < AT_A_BAD_MOMENT:
            await asyncio.sleep(chance.uniform(0, STARTS_WITHIN_S))
            made.did["killed while starting"] += 1
        else:
            await program.answers(made.web)
            await made.work(chance.randint(0, 5))
            await _a_while(made, chance, over)
            made.did["killed"] += 1
        await program.kill()
        program.start()


async def _bad_line(
    made: Fleet, line: Line, chance: random.Random, over: Callable[[], bool]
) -> None:
    """One line changes its weather, is cut, held either way, left hanging, led elsewhere."""
    while not over():
        kind = chance.choice(("weather", "weather", "cut", "held", "hanging", "moved"))
        made.did[f"line {kind}"] += 1
        match kind:
            case "weather":
                line.weather = chance.choice(WEATHERS)
            case "cut":
                line.pull()
                await made.work(chance.randint(0, 30))
                line.put_back()
            case "held":
                await line.hold(*chance.choice((("up",), ("down",), ("up", "down"))))
                await made.work(chance.randint(0, 30))
                line.reset()
                await line.let_go()
            case "hanging":
                line.hanging = True
                await made.work(chance.randint(0, 100))
                line.hanging = False
                line.reset()
            case "moved":
                line.lead_to(int(chance.choice(made.replicas).url.rsplit(":", 1)[1]))
                line.reset()
        await _a_while(made, chance, over)


async def _a_while(made: Fleet, chance: random.Random, over: Callable[[], bool]) -> None:
    """Some time, or until more has come across."""
    if chance.random() < 0.5:
        await asyncio.sleep(chance.uniform(0, LIVES_WITHIN_S))
        return
    enough = made.across + chance.randint(1, 200)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ACROSS_WITHIN_S):
            while made.across < enough and not over():
                await asyncio.sleep(0.05)


async def _mended(line: Line) -> None:
    line.weather, line.hanging = FAIR, False
    await line.let_go()
    line.reset()


async def _bad_database(
    made: Fleet, chance: random.Random, kills: int, over: Callable[[], bool]
) -> None:
    """PostgreSQL stands still for a while, or dies and comes back, some ten times."""
    while not over():
        enough = made.kills + chance.randint(1, max(2, kills // 5))
        await until(
            lambda enough=enough: over() or made.kills >= enough, "kills go on", within_s=600
        )
        if chance.random() < 0.5:
            made.did["database paused"] += 1
            await _paused(made, chance)
        else:
            made.did["database killed"] += 1
            assert made.server.pid is not None
            os.kill(made.server.pid, signal.SIGKILL)
            await made.work(chance.randint(0, 5))
            await until(lambda: made.server.pid is not None, "PostgreSQL is back")


async def _paused(made: Fleet, chance: random.Random) -> None:
    await until(lambda: made.server.pid is not None, "PostgreSQL is back")
    assert made.server.pid, "0 would be all of our own processes"
    with _stopped(made.server.pid):
        await made.work(chance.randint(1, 40))


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """A process and its children stand still."""
    pids = [pid, *children_of(pid)]

    def tell(number: int) -> None:
        for one in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, number)

    tell(signal.SIGSTOP)
    try:
        yield
    finally:
        tell(signal.SIGCONT)


def children_of(pid: int) -> list[int]:
    """The processes a process has started and that run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            text = entry.read_text()
            if int(text.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.parent.name))
    return found
