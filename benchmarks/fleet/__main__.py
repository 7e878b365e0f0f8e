"""A fleet against a real cloud: `python -m benchmarks.fleet [--quick]`, one JSON object a figure.

Full: 10,000 live nodes, and 100,000 enrolled ones that come to leave a few changes: more and more of
them a second, until not all are in time or the five-minute cycle is reached, which is 333 a second.
The cloud is `beira cloud run` with its embedded PostgreSQL; the load is one process of its own. Of the
nodes that come, one in three has to get a new token first, for a token lasts three cycles.
Beside it: a bare WebSocket on the same server, for memory and CPU. It ends by itself, after `--most`
seconds at the latest, with the figures it has.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import resource
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
    transactions,
)
from benchmarks.fleet.load import CYCLE_S, Load, Told
from benchmarks.fleet.process import Process, free_port, own_cpu_s, process
from benchmarks.fleet.thin import ThinSocket, dial

TARGET_KB = 40.0
TARGET_SHARE = 99.9


@dataclass(frozen=True)
class Plan:
    """How large a run is. `per_s`: how fast live nodes are let in, and within how long they must be;
    `rates`: how many visits a second are tried, one after the other, for `step_s` each."""

    name: str
    fleet: Fleet
    per_s: float
    connect_s: float
    rates: tuple[float, ...]
    step_s: float
    peers: int
    herd_s: float
    most_s: float


TARGET_RATE = 100_000 / CYCLE_S
RATES = (5, 10, 20, 40, 60, 80, 120, 160, 240, TARGET_RATE)
FULL = Plan("", Fleet(tenants=5, live=2_000, cycled=20_000), 120, 400, RATES, 30, 1_000, 240, 1_200)
QUICK = Plan(
    "quick: ", Fleet(tenants=2, live=250, cycled=250), 100, 240, (10, 33), 15, 500, 30, 300
)


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
        telling = asyncio.ensure_future(self.load.keep_telling())
        await self.connect(bare_kb)
        await self.idle()
        await self.cycles(bare_cpu_s)
        if self.plan.herd_s:
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
        took_s = await self.load.connect(self.stay, self.plan.per_s, self.plan.connect_s)
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
        await asyncio.sleep(self.plan.step_s)
        took_s = time.monotonic() - started_s
        self.figure("live: cloud CPU", 100 * (self.cloud.cpu_s() - cpu_s) / took_s, "% of a core")
        base = 100 * (self.cloud.database_cpu_s() - base_s) / took_s
        self.figure("live: database CPU", base, "% of a core")

    async def cycles(self, bare_cpu_s: float) -> None:
        """More and more visits a second, until too many are late."""
        carried = 0.0
        coming = itertools.cycle(self.come)
        for rate in self.plan.rates:
            nodes = list(itertools.islice(coming, round(rate * self.plan.step_s)))
            if await self.cycle(nodes, rate, bare_cpu_s) < TARGET_SHARE:
                break
            carried = rate
        self.figure(
            f"visits a second of which {TARGET_SHARE} % are in time", carried, "visits/s",
            target=f">= {TARGET_RATE:.0f}", met=carried >= TARGET_RATE,
        )  # fmt: skip
        rows, different = await committed(self.data, "interactions")
        self.figure("interactions in the cloud", rows, "rows", peer=f"different: {different}")

    async def cycle(self, nodes: list[Enrolled], rate: float, bare_cpu_s: float) -> float:
        """Have `nodes` come at `rate`; the share that was in time, in percent."""
        count, name = len(nodes), f"at {rate:.0f} visits/s: "
        told = self.load.told = Told()
        cpu_s, base_s, own_s = self.cloud.cpu_s(), self.cloud.database_cpu_s(), own_cpu_s()
        asked, started_s = await transactions(self.data), time.monotonic()
        await self.load.cycle(nodes, rate)
        took_s = time.monotonic() - started_s
        self.figure(name + "planned in", count / rate, "s", peer=f"all done in {took_s:.1f} s")
        cloud_ms = 1_000 * (self.cloud.cpu_s() - cpu_s) / count
        self.figure(
            name + "cloud CPU a visit, live nodes included", cloud_ms, "ms",
            peer=f"{peer.NAME}: {bare_cpu_s:.2f}", ratio=cloud_ms / bare_cpu_s,
        )  # fmt: skip
        base_ms = 1_000 * (self.cloud.database_cpu_s() - base_s) / count
        self.figure(name + "database CPU a visit", base_ms, "ms")
        own_ms = 1_000 * (own_cpu_s() - own_s) / count
        self.figure(name + "the load's own CPU a visit", own_ms, "ms")
        asked = await transactions(self.data) - asked
        self.figure(name + "transactions a visit", asked / count, "transactions")
        self.latencies(told, name)
        for lane in ("important", "critical"):
            share = told.share(lane)
            self.figure(
                f"{name}deadline share, {lane}", share, "%",
                target=f">= {TARGET_SHARE} %", met=share >= TARGET_SHARE,
            )  # fmt: skip
        failed = str(dict(told.failed))[:300]
        self.figure(name + "failures", sum(told.failed.values()), "tries", peer=failed)
        return told.share("important")

    def latencies(self, told: Told, step: str) -> None:
        for name, values in (
            ("critical record, commit", told.urgent_s),
            ("visit, from its planned moment", told.cycle_s),
            ("token by challenge and assertion", told.token_s),
        ):
            for share in (0.5, 0.95, 0.99):
                if values:
                    self.figure(
                        f"{step}{name}: p{share * 100:.0f}", 1e3 * percentile(values, share), "ms"
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
                async with asyncio.timeout(plan.most_s):
                    await one.all(bare_kb, bare_cpu_s)
            except TimeoutError:
                print(
                    json.dumps({"ended": f"after {plan.most_s:.0f} s, as was planned"}), flush=True
                )
            except BaseException:
                print(json.dumps({"log": (folder / "cloud.log").read_text()[-3_000:]}), flush=True)
                raise


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="500 live, 500 that come")
    parser.add_argument("--live", type=int, help="how many stay connected, not 10,000")
    parser.add_argument("--enrolled", type=int, help="how many come and go, not 100,000")
    parser.add_argument("--most", type=float, help="seconds after which it ends in any case")
    parser.add_argument("--calm", action="store_true", help="without the restart at the end")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    tenants = plan.fleet.tenants
    if options.live is not None:
        plan = replace(plan, name="", fleet=replace(plan.fleet, live=options.live // tenants))
    if options.enrolled is not None:
        plan = replace(plan, name="", fleet=replace(plan.fleet, cycled=options.enrolled // tenants))
    plan = replace(
        plan,
        most_s=options.most or plan.most_s,
        herd_s=0 if options.calm else plan.herd_s,
    )
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    asyncio.run(run(plan))


if __name__ == "__main__":
    main()
