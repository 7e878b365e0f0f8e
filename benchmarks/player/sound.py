"""How soon a shop is heard: from the start of the node's program, and after its mpv was killed.

    python -m benchmarks.player.sound [--tries 10]

The node has no cloud and no network, 2,000 entries in its manifest and a file to play. The peer is a
bare mpv with the same file, from its start to its first sound: what no player around it can undercut.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
import wave
from array import array
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec
import typer

from beira.apps.player.engines.mpv import AT_ONCE, STEADY_S, Deck
from beira.apps.player.engines.port import Cue, Restarted, Started
from beira.apps.player.held import Held
from beira.apps.player.manifest import (
    AssetEntry,
    Entry,
    Head,
    Manifest,
    PlaylistEntry,
    SignedHead,
    SlotEntry,
)
from beira.blobs import FolderBlobs, Shelf
from beira.host import SystemWall
from beira.host.apps import installed
from beira.node.at_rest import BLOBS_FOLDER
from benchmarks.figures import figure, percentile
from benchmarks.node_process import host_in, running_node, settle, wait_for

ENTRIES = 2_000
TRACK_MS = 60_000
RATE = 48_000
QUIET_S = 2.0


def main(tries: Annotated[int, typer.Option(help="How often each is tried")] = 10) -> None:
    os.environ["BEIRA_PLAYER_OUTPUT"] = "null"
    if shutil.which("mpv") is None:
        raise SystemExit("mpv is not installed: apt install mpv")
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(_measure(Path(place), tries))


async def _measure(folder: Path, tries: int) -> None:
    track = folder / "track.wav"
    track.write_bytes(_tone())
    bare = [_bare_ms(track) for _ in range(tries)]
    figure("mpv alone: start to sound, p50", median(bare), "ms", peer="mpv")
    starts = await _starts(folder, track, tries)
    middle = median(starts)
    figure("node: start of the program to sound, p50", middle, "ms", peer="mpv",
           ratio=middle / median(bare), target="<= 2000", met=middle <= 2_000)  # fmt: skip
    figure("node: start of the program to sound, worst", max(starts), "ms", target="<= 2000",
           met=max(starts) <= 2_000)  # fmt: skip
    backs = await _backs(track, tries)
    figure("mpv killed: back after, p50", median(backs), "ms", peer="mpv",
           ratio=median(backs) / median(bare), target="<= 1000", met=median(backs) <= 1_000)  # fmt: skip
    figure("mpv killed: back after, p95", percentile(backs, 0.95), "ms", target="<= 1000",
           met=percentile(backs, 0.95) <= 1_000)  # fmt: skip


def _tone() -> bytes:
    turn = 2 * math.pi * 440 / RATE
    samples = array(
        "h", (round(9_000 * math.sin(turn * n)) for n in range(RATE * TRACK_MS // 1000))
    )
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def _bare_ms(track: Path) -> float:
    """mpv as anybody starts it, until it says that it plays."""
    began_s = time.monotonic()
    asked = ["mpv", "--no-config", "--ao=null", "--term-playing-msg=plays", str(track)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while b"plays" not in process.stdout.readline():
            pass
        took_ms = (time.monotonic() - began_s) * 1000
        process.kill()
    return took_ms


async def _starts(folder: Path, track: Path, tries: int) -> list[float]:
    """The program, from its start to mpv's first sound; the first time unseen, as its files are cold."""
    data = folder / "node"
    await _fill(data, track)
    found, spent_ms = [], []
    for _ in range(tries + 1):
        began = time.time()
        with running_node(data, apps=["player"]) as node:
            told = await asyncio.to_thread(wait_for, node, "player.heard")
            heard = datetime.fromisoformat(str(told["timestamp"]).replace("Z", "+00:00"))
            found.append((heard.timestamp() - began) * 1000)
            assert told["title"] == "Faixa", json.dumps(told)
            spent_ms.append(_cpu_ms(node.pid))
    figure("node: CPU of the program by its first sound, p50", median(spent_ms[1:]), "ms")
    return found[1:]


def _cpu_ms(pid: int) -> float:
    """What a process has spent, user and system: less than the wall knows of a busy machine."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) * 1000 / os.sysconf("SC_CLK_TCK")


async def _fill(data: Path, track: Path) -> None:
    """A node's folder as the cloud has left it: entries, their head, and the file."""
    settle(data)
    async with host_in(data, installed(("player",))) as host:
        shelf = Shelf(FolderBlobs(data / BLOBS_FOLDER), host.place.tenant, SystemWall())
        ref = await shelf.add(track.read_bytes())
        assets = [
            AssetEntry(id=f"a{n}", title="Faixa", file=ref.sha256 if n == 0 else f"{n:064x}",
                       size_bytes=ref.size_bytes, duration_ms=TRACK_MS)
            for n in range(ENTRIES)
        ]  # fmt: skip
        playlist = PlaylistEntry(id="p", name="Tudo", assets=tuple(a.id for a in assets))
        entries: list[Entry] = [*assets, playlist, SlotEntry(id="s", playlist="p")]
        manifest = Manifest.of(entries)
        head = Head(tenant=host.place.tenant, node=host.place.node, version=1,
                    root=manifest.root, issued_at=host.now())  # fmt: skip
        held = Held(host)
        held.take(head, SignedHead(head=msgspec.json.encode(head), signature=b"", key_id=""),
                  manifest)  # fmt: skip
        await held.write()


async def _backs(track: Path, tries: int) -> list[float]:
    """From the kill until sound comes from another mpv, as the deck measures it. One that dies again and
    again within seconds is started ever later, which is not what is asked here: so it lives long enough
    in between."""
    deck, found = Deck(["--ao=null"]), list[float]()
    task = asyncio.create_task(deck.run())
    deck.play(Cue("track", str(track), TRACK_MS))
    while not isinstance(await deck.event(), Started):
        pass
    for n in range(tries):
        await asyncio.sleep(QUIET_S if n % AT_ONCE else STEADY_S + QUIET_S)
        os.kill(deck.pid, signal.SIGKILL)
        while not isinstance(event := await deck.event(), Restarted):
            pass
        found.append(float(event.ms))
        deck.play(Cue("track", str(track), TRACK_MS))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return found


if __name__ == "__main__":
    typer.run(main)
