"""What of the player is there, what is missing, and how to get it: for `beira node doctor`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

import msgspec

from beira.apps.player.engines.mpv import Deck
from beira.apps.player.engines.mpv_process import program
from beira.apps.player.engines.port import OUTPUT, Cue, Started
from beira.apps.player.under_way import JINGLE, JINGLE_MS
from beira.sdk import BeiraError

PLAYS_WITHIN_S = 15.0
NULL = ("--ao=null",)


class Finding(msgspec.Struct, kw_only=True, frozen=True):
    """One thing looked at. `next_step` is empty when there is nothing to do."""

    name: str
    ok: bool
    what: str
    next_step: str = ""


async def diagnose(_data: Path) -> list[Finding]:
    """Try mpv into nothing, then, silently, into the machine's own output; nothing is changed."""
    found = [await _mpv()]
    if found[0].ok:
        found.append(await _plays("player", NULL, "mpv plays the jingle: it began in {ms} ms."))
        found.append(await _output())
    found.append(_decoder())
    return found


async def _mpv() -> Finding:
    try:
        where = program()
    except BeiraError as error:
        return Finding(name="mpv", ok=False, what=error.message, next_step=error.hint)
    asked = await asyncio.create_subprocess_exec(
        where, "--no-config", "--version", stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    said, _ = await asked.communicate()
    line = said.decode(errors="replace").split("\n", 1)[0].split(" Copyright", 1)[0]
    return Finding(name="mpv", ok=asked.returncode == 0, what=f"{line} at {where}")


async def _output() -> Finding:
    """The machine's own output, unless the environment says that there is none to be used."""
    name, chosen = "sound output", os.environ.get(OUTPUT, "")
    if chosen:
        return Finding(name=name, ok=True, what=f"{OUTPUT} sends the sound to {chosen!r}.")
    return await _plays(name, (), "mpv finds a sound output.")


async def _plays(name: str, options: tuple[str, ...], what: str) -> Finding:
    """Whether the jingle is heard, at volume 0 where people would hear it."""
    deck = Deck(options)
    deck.volume(0)
    deck.play(Cue("jingle", str(JINGLE), JINGLE_MS))
    began_s = time.monotonic()
    task = asyncio.create_task(deck.run())
    try:
        async with asyncio.timeout(PLAYS_WITHIN_S):
            await _either(deck)
    except TimeoutError:
        step = "Is the machine overloaded? Try again."
        return Finding(name=name, ok=False, what="mpv does not play.", next_step=step)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    trouble = deck.trouble
    if trouble is not None:
        return Finding(name=name, ok=False, what=trouble.message, next_step=trouble.hint)
    took_ms = round((time.monotonic() - began_s) * 1000)
    return Finding(name=name, ok=True, what=what.format(ms=took_ms))


async def _either(deck: Deck) -> None:
    """Until it is heard, or there is trouble."""
    hearing = asyncio.create_task(_started(deck.event))
    try:
        while not hearing.done() and deck.trouble is None:
            await asyncio.sleep(0.02)
    finally:
        hearing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await hearing


async def _started(event: Callable[[], Awaitable[object]]) -> None:
    while not isinstance(await event(), Started):
        pass


def _decoder() -> Finding:
    """What the cloud needs to make a library ready; a node does not."""
    name = "ffmpeg"
    if shutil.which("ffmpeg") or find_spec("imageio_ffmpeg"):
        return Finding(name=name, ok=True, what="It is here (only the cloud needs it).")
    return Finding(name=name, ok=True, what="Not here; only the cloud needs it.")
