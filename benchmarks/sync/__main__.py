"""Sync beside its peers: the same 10,000 records of about 300 bytes, durable at both ends.

    python -m benchmarks.sync [--quick]

One JSON object a line and figure; `--quick` leaves out the loops tuned by hand, which nothing is asked
of. Node, cloud, PostgreSQL and every peer run as processes of their own over loopback; what is compared
is run in turns. Machines differ: look at the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from benchmarks.figures import figure
from benchmarks.sync import bare, pages, sizes, thin_figures
from benchmarks.sync.cloud import Cloud, cloud
from benchmarks.sync.node import node
from benchmarks.sync.pouch import NAME as POUCH
from benchmarks.sync.pouch import Pouch, missing, pouch
from benchmarks.sync.workload import RECORDS, goods, interactions

TURSO = ("pyturso to its sync server", "pyturso's wheel brings no sync server")
ROUNDS = 5
WARM_RECORDS = 2_000
QUICK_ROUNDS = 2


@dataclass
class Took:
    """Seconds of each round, ours and the peers'."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    tuned: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    pouch: list[float] = field(default_factory=list)

    def tell(self, name: str, *, times_bare: float | None, times_pouch: float) -> None:
        """Print what came out of it, beside each peer."""
        rate = RECORDS / statistics.median(self.ours)
        loops = (
            (bare.NAME, self.bare, times_bare),
            (bare.TUNED_NAME, self.tuned, None),
            (bare.MEMORY_NAME, self.memory, None),
        )
        peers = [
            (loop, RECORDS / statistics.median(took), times) for loop, took, times in loops if took
        ]
        if self.pouch:
            peers.append((POUCH, RECORDS / statistics.median(self.pouch), times_pouch))
        for peer, theirs, times in peers:
            figure(
                name,
                rate,
                "records/s",
                peer=f"{peer}: {theirs:.0f}",
                ratio=rate / theirs,
                target="" if times is None else f">= {times} x",
                met=None if times is None else rate / theirs >= times,
            )


async def push(at: Cloud, folder: Path, peer: Pouch | None, rounds: int, *, quick: bool) -> None:
    took = Took()
    await _warm(at, folder)
    for i in range(rounds):
        made = interactions(RECORDS)
        async with node(folder, at.address, f"push-{i}") as one:
            await one.write(made)
            took.ours.append(await one.drained())
        loop = bare.Loop(folder / f"loop-{i}.db", at.address)
        loop.write(interactions(RECORDS))
        took.bare.append(await loop.push())
        loop.close()
        if not quick:
            box = bare.Outbox(folder / f"tuned-{i}.db", at.address)
            box.write(interactions(RECORDS))
            took.tuned.append((await box.push())[0])
            box.close()
            took.memory.append(await bare.push_from_memory(interactions(RECORDS), at.address))
        if peer is not None and i == 0:
            took.pouch.append(await peer.push(made, "interactions"))
    took.tell("push, durable at the cloud", times_bare=1.5, times_pouch=5)


async def _warm(at: Cloud, folder: Path) -> None:
    """One push that is not measured, of both: the first finds nothing in any memory."""
    async with node(folder, at.address, "push-warm") as one:
        await one.write(interactions(WARM_RECORDS))
        await one.drained()
    loop = bare.Loop(folder / "loop-warm.db", at.address)
    loop.write(interactions(WARM_RECORDS))
    await loop.push()
    loop.close()


async def pull(at: Cloud, folder: Path, peer: Pouch | None, rounds: int, *, quick: bool) -> None:
    took = Took()
    end = await at.ask("goods", count=RECORDS)
    if not quick:
        box = bare.Outbox(folder / "tuned-goods.db", at.address)
        box.write(goods(RECORDS))
        await box.push("goods")
        box.close()
    for i in range(rounds):
        async with node(folder, at.address, f"pull-{i}") as one:
            took.ours.append(await one.pulled(end))
            assert await one.host.store.get("bench_goods", goods(1)[0].id) is not None
        if not quick:
            box = bare.Outbox(folder / f"tuned-pull-{i}.db", at.address)
            took.tuned.append((await box.pull())[0])
            box.close()
        if peer is not None and i == 0:
            await peer.fill(goods(RECORDS), "goods")
            took.pouch.append(await peer.pull("goods"))
    took.tell("fresh pull to a durable node", times_bare=None, times_pouch=6)


async def run(rounds: int, *, quick: bool) -> None:
    why = await missing()
    for name, reason in ((POUCH, why), TURSO):
        if reason:
            print(json.dumps({"name": name, "skipped": reason}), flush=True)
    async with contextlib.AsyncExitStack() as stack:
        name = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="beira-bench-", ignore_cleanup_errors=True)
        )
        folder = Path(name)
        folder.chmod(0o755)
        at = await stack.enter_async_context(cloud(folder / "cloud"))
        peer = None if why else await stack.enter_async_context(pouch(folder / "pouch"))
        await push(at, folder, peer, rounds, quick=quick)
        await sizes.interactions(at, folder)
        await sizes.critical(at, folder)
        await pull(at, folder, peer, 1 if quick else rounds, quick=quick)
        await sizes.updates(at, folder)
        await sizes.after_updates(at, folder, times=1 if quick else 10)
        await thin_figures.measure(at, folder, None if quick else peer, quick=quick)
        await pages.commit_to_cloud(at, folder, 25 if quick else 200)
    with tempfile.TemporaryDirectory(prefix="beira-bench-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        await pages.commit_to_page(Path(name), 25 if quick else 200)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 50 s")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(run(QUICK_ROUNDS if options.quick else ROUNDS, quick=options.quick))


if __name__ == "__main__":
    main()
