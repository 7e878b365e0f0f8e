"""Over 100 ms round trip and 1 Mbit/s: a whole upload, and what is critical in the middle of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from benchmarks.figures import figure, percentile
from benchmarks.sync import bare
from benchmarks.sync.cloud import Cloud
from benchmarks.sync.node import Node, node
from benchmarks.sync.pouch import NAME as POUCH
from benchmarks.sync.pouch import Pouch
from benchmarks.sync.thin import BYTES_PER_S, thin_link
from benchmarks.sync.workload import RECORDS, alarm, interactions

MOST_S = 8.0
ALARM_EVERY_S = 0.25
P95_S = 1.0


async def measure(at: Cloud, folder: Path, peer: Pouch | None, *, quick: bool) -> None:
    peers: list[tuple[str, float]] = []
    async with thin_link(at.address) as link, node(folder, link.address, "thin") as one:
        await one.write(interactions(RECORDS))
        written: dict[str, float] = {}
        started_s = time.monotonic()
        async with one.running():
            alarms = asyncio.ensure_future(_alarms(one, written))
            await one.empty()
            took_s = time.monotonic() - started_s
            alarms.cancel()
            await asyncio.gather(alarms, return_exceptions=True)
            await one.empty()
        physical_s = link.up_bytes / BYTES_PER_S
    if not quick:
        async with thin_link(at.address) as link:
            box = bare.Outbox(folder / "tuned-thin.db", link.address)
            box.write(interactions(RECORDS))
            peers.append((bare.TUNED_NAME, (await box.push())[0]))
            box.close()
    if peer is not None:
        async with thin_link(f"http://127.0.0.1:{peer.port}") as link:
            made = interactions(RECORDS)
            peers.append((POUCH, await peer.push(made, "thin", link.port)))
    for name, theirs_s in [("as many bytes on the link, without a pause", physical_s), *peers]:
        figure(
            "10,000 records over 100 ms and 1 Mbit/s", took_s, "s", peer=f"{name}: {theirs_s:.1f} s",
            ratio=took_s / theirs_s, target=f"<= {MOST_S}", met=took_s <= MOST_S,
        )  # fmt: skip
    arrived = await at.arrived()
    late = [(arrived[id] - at_s) for id, at_s in written.items() if id in arrived]
    p95 = percentile(late, 0.95)
    figure(
        "critical record during that upload, node commit to cloud commit, p95", p95, "s",
        target=f"< {P95_S}", met=p95 < P95_S and len(late) == len(written),
    )  # fmt: skip


async def _alarms(one: Node, written: dict[str, float]) -> None:
    """Now and then something critical; `written` gets when each was on the node's disk."""
    for i in range(10_000):
        await asyncio.sleep(ALARM_EVERY_S)
        record = alarm(i)
        record.id = one.host.wall.new_id()
        await one.write([record])
        written[record.id] = time.monotonic()
