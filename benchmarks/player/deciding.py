"""What plays next, of 100,000 assets in one shuffled playlist, while files come and go.

    python -m benchmarks.player.deciding [--quick]

The peer is what one would write in an hour: of all that can be played the one heard longest ago, by going
through the list. It keeps the same rules, and chooses the same.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from beira.apps.player.manifest import AssetEntry, Entry, PlaylistEntry, SlotEntry
from beira.apps.player.memory import Memory
from beira.apps.player.on_disk import OnDisk
from beira.apps.player.program import Program
from beira.apps.player.rules import choose, preview, upcoming
from benchmarks.figures import figure, percentile

ASSETS = 100_000
ARTISTS = 20_000
HELD = 0.9
TRACK = timedelta(seconds=200)
TARGET_MS = 5.0
START = datetime(2026, 6, 1, tzinfo=UTC)


def library(chance: random.Random) -> list[Entry]:
    """Half with a window that ends this year; some artists have many, most few."""
    assets: list[Entry] = [
        AssetEntry(
            id=f"a{n}", file=f"f{n}", size_bytes=1_600_000, title=f"Faixa {n}", duration_ms=200_000,
            artist=f"Artista {int(ARTISTS * chance.random() ** 3)}",
            valid_until=_some_day(chance) if chance.random() < 0.5 else None,
        )
        for n in range(ASSETS)
    ]  # fmt: skip
    playlist = PlaylistEntry(
        id="p", name="Tudo", assets=tuple(a.id for a in assets), order="shuffled"
    )
    return [*assets, playlist, SlotEntry(id="s", playlist="p")]


def _some_day(chance: random.Random) -> str:
    return f"2026-{chance.randint(6, 12):02}-{chance.randint(1, 28):02}T18:00"


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Processor and wall milliseconds."""
    cpu, wall = time.thread_time(), time.perf_counter()
    work()
    return (time.thread_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000


def scanned(program: Program, memory: Memory, now: datetime, disk: OnDisk) -> str | None:
    """The peer: the same rule by looking at all."""
    playlist = program.playlists["p"]
    near = memory.artists_within(playlist.artist_gap)
    far = memory.tracks - playlist.no_repeat
    able = [
        asset
        for asset in program.assets.values()
        if disk(asset)
        and program.may_begin(asset.id, now)
        and memory.played.get(asset.id, 0) <= max(far, 0)
        and asset.artist not in near
    ]
    return min(able, key=lambda asset: memory.played.get(asset.id, 0)).id if able else None


def main(decisions: int) -> None:
    chance = random.Random(1)
    entries = library(chance)
    program = Program.of(entries, shop="n1")
    disk = OnDisk(f"f{n}" for n in range(ASSETS) if chance.random() < HELD)
    memory, now = Memory(), START
    first, _ = timed(lambda: choose(program, memory, now, disk))
    ours: list[tuple[float, float]] = []
    theirs: list[float] = []
    for n in range(decisions):
        disk.discard(f"f{chance.randrange(ASSETS)}")
        disk.add(f"f{chance.randrange(ASSETS)}")
        ours.append(timed(lambda: choose(program, memory, now, disk)))  # noqa: B023
        memory.add(choose(program, memory, now, disk), now)
        if n % (decisions // 20) == 0:
            theirs.append(timed(lambda: scanned(program, memory, now, disk))[0])  # noqa: B023
        now += TRACK
    cpu, wall = [one[0] for one in ours], [one[1] for one in ours]
    p99, peer = percentile(cpu, 0.99), percentile(theirs, 0.5)
    figure("player.decide_p99", p99, "ms of processor", peer=f"a scan of the list: {peer:.1f} ms",
           ratio=p99 / peer, target="< 5", met=p99 < TARGET_MS)  # fmt: skip
    figure("player.decide_p50", percentile(cpu, 0.5), "ms of processor")
    figure("player.decide_wall_p99", percentile(wall, 0.99), "ms")
    figure("player.decide_first", first, "ms of processor, once a programme")
    ahead, _ = timed(lambda: upcoming(program, memory, now, timedelta(days=14)))
    figure("player.upcoming", ahead, "ms of processor, all files in their order")
    shown, _ = timed(lambda: preview(program, memory, now, now + timedelta(days=1)))
    figure("player.preview_day", shown, "ms of processor")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    main(1_000 if parser.parse_args().quick else 5_000)
