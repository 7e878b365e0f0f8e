"""A fleet against a real cloud: `python -m benchmarks.fleet [--quick]`, one JSON object a figure.

Full: 10,000 live nodes, and 100,000 that come every five minutes to leave a few changes.
The cloud is `beira cloud run` with its embedded PostgreSQL; the load is one process of its own. Of the
nodes that come, one in three has to get a new token first, for a token lasts three cycles.
Beside it: a bare WebSocket on the same server, for memory and CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from benchmarks.figures import figure, percentile
from benchmarks.fleet import peer
from benchmarks.fleet.enrolled import (
    Enrolled,
    Fleet,
    committed,
    enrol_all,
    give_tokens,
    tenant_feeds,
)
from benchmarks.fleet.load import CYCLE_S, Load, Told
from benchmarks.fleet.process import Process, free_port, own_cpu_s, process
from benchmarks.fleet.thin import ThinSocket, dial

TARGET_KB = 40.0
TARGET_SHARE = 99.9


@dataclass(frozen=True)
class Plan:
    """How large a run is. `per_s`: how fast live nodes are let in."""

    name: str
    fleet: Fleet
    per_s: float
    cycle_s: float
    peers: int
    herd_s: float


FULL = Plan("", Fleet(tenants=5, live=2_000, cycled=20_000), 120, CYCLE_S, 2_000, 240)
QUICK = Plan("quick: ", Fleet(tenants=2, live=250, cycled=250), 100, 15, 500, 30)


class Run:
    """One run: what is measured, in order."""

    def __init__(self, plan: Plan, cloud: Process, load: Load, data: Path) -> None:
        self.plan, self.cloud, self.load, self.data = plan, cloud, load, data
        fleet = plan.fleet
        self.stay = [Enrolled(t, n) for n in range(fleet.live) for t in range(fleet.tenants)]
        self.come = [
            Enrolled(t, n) for n in range(fleet.live, fleet.each) for t in range(fleet.tenants)
        ]

    def figure(self, name: str, value: float, unit: str, **more: object) -> None:
        figure(self.plan.name + name, value, unit, **more)  # type: ignore[arg-type]

    async def all(self, bare_kb: float, bare_cpu_s: float) -> None:
        await self.warm_up()
        await self.connect(bare_kb)
        telling = asyncio.ensure_future(self.load.keep_telling())
        await self.idle()
        await self.cycles(bare_cpu_s)
        await self.herd()
        telling.cancel()
        for one in self.load.live:
            one.stay_away()

    async def warm_up(self) -> None:
        """Have each tenant's host made, and begin where nodes that are there for long have got to."""
        first = self.stay[: self.plan.fleet.tenants]
        warm = Load(self.load.port, self.load._session)
        took_s = await warm.connect(first, 5, 120)
        await asyncio.sleep(1)
        for one in warm.live:
            one.stay_away()
        feeds = await tenant_feeds(self.data)
        for node in self.stay + self.come:
            node.tenant_cursor = feeds.get(node.tenant, 0)
            node.cloud = first[node.tenant].cloud
        await give_tokens(self.data, [n for n in self.stay + self.come if n.number % 3])
        self.figure("tenants taken up by a replica", took_s / len(first), "s each")

    async def connect(self, bare_kb: float) -> None:
        before_kb, cpu_s = self.cloud.memory_kb(), self.cloud.cpu_s()
        base_s = self.cloud.database_cpu_s()
        count = len(self.stay)
        took_s = await self.load.connect(self.stay, self.plan.per_s, 240)
        await asyncio.sleep(5)
        live = sum(one.is_live for one in self.load.live)
        each_kb = (self.cloud.memory_kb() - before_kb) / max(live, 1)
        self.figure("live connections", live, "nodes", target=f">= {count}", met=live >= count)
        self.figure("live: connect rate", count / took_s, "nodes/s")
        spent = 1_000 * (self.cloud.cpu_s() - cpu_s) / count
        self.figure("live: cloud CPU a connection, with its token", spent, "ms")
        base = 1_000 * (self.cloud.database_cpu_s() - base_s) / count
        self.figure("live: database CPU a connection, with its token", base, "ms")
        self.figure(
            "live: cloud memory a connection", each_kb, "KB",
            peer=f"{peer.NAME}: {bare_kb:.1f}", ratio=each_kb / bare_kb,
            target=f"< {TARGET_KB:.0f} KB", met=each_kb < TARGET_KB,
        )  # fmt: skip

    async def idle(self) -> None:
        """What connections cost that only say how they are."""
        cpu_s, base_s, started_s = self.cloud.cpu_s(), self.cloud.database_cpu_s(), time.monotonic()
        await asyncio.sleep(min(30.0, self.plan.cycle_s / 2))
        took_s = time.monotonic() - started_s
        self.figure("live: cloud CPU", 100 * (self.cloud.cpu_s() - cpu_s) / took_s, "% of a core")
        base = 100 * (self.cloud.database_cpu_s() - base_s) / took_s
        self.figure("live: database CPU", base, "% of a core")

    async def cycles(self, bare_cpu_s: float) -> None:
        count = len(self.come)
        told = self.load.told = Told()
        cpu_s, base_s, own_s = self.cloud.cpu_s(), self.cloud.database_cpu_s(), own_cpu_s()
        started_s = time.monotonic()
        await self.load.cycle(self.come, count / self.plan.cycle_s)
        took_s = time.monotonic() - started_s
        self.figure("cycle: enrolled nodes", count, "nodes")
        self.figure("cycle: planned in", self.plan.cycle_s, "s")
        self.figure("cycle: all done in", took_s, "s")
        cloud_s = 1_000 * (self.cloud.cpu_s() - cpu_s) / count
        self.figure(
            "cycle: cloud CPU a 1,000 visits, live nodes included", cloud_s, "s",
            peer=f"{peer.NAME}: {bare_cpu_s:.2f}", ratio=cloud_s / bare_cpu_s,
        )  # fmt: skip
        base = 1_000 * (self.cloud.database_cpu_s() - base_s) / count
        self.figure("cycle: database CPU a 1,000 visits", base, "s")
        own = 1_000 * (own_cpu_s() - own_s) / count
        self.figure("cycle: the load's own CPU a 1,000 visits", own, "s")
        self.latencies(told)
        for lane in ("important", "critical"):
            share = told.share(lane)
            self.figure(
                f"deadline share, {lane}", share, "%",
                target=f">= {TARGET_SHARE} %", met=share >= TARGET_SHARE,
            )  # fmt: skip
        rows, different = await committed(self.data, "interactions")
        self.figure("interactions in the cloud", rows, "rows", peer=f"different: {different}")
        self.figure(
            "failures", sum(told.failed.values()), "tries", peer=str(dict(told.failed))[:300]
        )

    def latencies(self, told: Told) -> None:
        for name, values in (
            ("critical record, commit", told.urgent_s),
            ("visit, from its planned moment", told.cycle_s),
            ("token by challenge and assertion", told.token_s),
        ):
            for share in (0.5, 0.95, 0.99):
                if values:
                    self.figure(
                        f"{name}: p{share * 100:.0f}", 1e3 * percentile(values, share), "ms"
                    )

    async def herd(self) -> None:
        """The cloud goes and comes back; all live nodes are cut off at once."""
        told = self.load.told = Told()
        stopping_s = time.monotonic()
        await self.cloud.stop()
        await self.cloud.start()
        started_s = time.monotonic()
        all_back = await self.load.all_live(self.plan.herd_s)
        back = sum(one.is_live for one in self.load.live)
        took_s = time.monotonic() - started_s
        self.figure("herd: the cloud was away", started_s - stopping_s, "s")
        self.figure("herd: back", back, "nodes", target=f"{len(self.stay)}", met=all_back)
        self.figure(
            "herd: until all were live again", took_s, "s", peer=str(dict(told.failed))[:300]
        )


async def bare_peer(count: int, log: Path) -> tuple[float, float]:
    """KB a connection, and seconds of CPU a thousand visits."""
    port = free_port()
    async with process(["-m", "benchmarks.fleet.peer", str(port)], port, log) as server:
        before_kb = server.memory_kb()
        sockets = [await _bare_visit(port, stays=True) for _ in range(count)]
        each_kb = (server.memory_kb() - before_kb) / count
        for socket in sockets:
            socket.leave()
        cpu_s = server.cpu_s()
        for i in range(0, count, 50):
            await asyncio.gather(*(_bare_visit(port, stays=False) for _ in range(i, i + 50)))
        return each_kb, 1_000 * (server.cpu_s() - cpu_s) / count


async def _bare_visit(port: int, *, stays: bool) -> ThinSocket:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asks = [1 if stays else peer.ASKS]

    def heard(_: bytes) -> None:
        asks[0] -= 1
        if asks[0]:
            socket.send(b"x" * 200)
        elif not over.done():
            over.set_result(None)

    def opened() -> None:
        asyncio.get_running_loop().call_soon(lambda: socket.send(b"x" * 200))

    socket = await dial(port, "", opened, heard, lambda why: None, path=peer.PATH)
    await over
    if not stays:
        socket.leave()
    return socket


async def run(plan: Plan) -> None:
    with tempfile.TemporaryDirectory(prefix="beira-fleet-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        bare_kb, bare_cpu_s = await bare_peer(plan.peers, folder / "peer.log")
        figure(plan.name + "peer: memory a connection", bare_kb, "KB")
        figure(plan.name + "peer: CPU a 1,000 visits", bare_cpu_s, "s")
        data, port = folder / "cloud", free_port()
        data.mkdir(mode=0o711)
        arguments = ["-m", "beira.cli", "cloud", "run", "--data", str(data), "--port", str(port)]
        async with contextlib.AsyncExitStack() as stack:
            cloud = await stack.enter_async_context(process(arguments, port, folder / "cloud.log"))
            await enrol_all(data, plan.fleet)
            gc.freeze()
            limit = aiohttp.TCPConnector(limit=20)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=limit))
            one = Run(plan, cloud, Load(port, session), data)
            try:
                await one.all(bare_kb, bare_cpu_s)
            except BaseException:
                print(json.dumps({"log": (folder / "cloud.log").read_text()[-3_000:]}), flush=True)
                raise


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 50 s: 500 live, 500 that come")
    parser.add_argument(
        "--enrolled", type=int, help="how many come every five minutes, not 100,000"
    )
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    if options.enrolled:
        cycled = options.enrolled // plan.fleet.tenants
        plan = replace(plan, name="smaller: ", fleet=replace(plan.fleet, cycled=cycled))
    asyncio.run(run(plan))


if __name__ == "__main__":
    main()
