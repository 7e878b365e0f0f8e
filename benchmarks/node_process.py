"""A real node in a process of its own, as `beira node run` starts it, and how much memory that takes.

The node has no cloud: it looks for one at an address where none is, as a shop's does in an outage.
Figures are by RSS, which counts every page in full: the most it can be. PSS divides pages among the
processes that share them, such as a benchmark beside it with the same libraries, and says too little.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from beira.host import Host, Place, SystemWall
from beira.identity.shapes import Enrolled
from beira.kernel.app import Catalogue
from beira.node import settled
from beira.node.program import DATABASE_FILE
from beira.store.sqlite import SqliteStore
from beira.sync.streams import log_route

NOWHERE = "http://127.0.0.1:9"
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
TENANT, SITE = "bench", "bench-1"


@dataclass(frozen=True)
class Memory:
    """MB (2**20 bytes) of a process, and of it with all its descendants (what they share with it is
    counted for each)."""

    rss: float
    family_rss: float
    pss: float


@dataclass(frozen=True)
class NodeProcess:
    """A node that runs. `log` is what it said so far, a JSON object a line."""

    pid: int
    address: str
    log: Path

    def memory(self) -> Memory:
        family = [self.pid, *descendants(self.pid)]
        rss = [memory_mb(pid, "Rss") for pid in family]
        return Memory(rss[0], sum(rss), memory_mb(self.pid, "Pss"))

    def said(self, event: str) -> dict[str, object] | None:
        """The latest log line of that event."""
        found = None
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if told.get("event") == event:
                    found = told
        return found


def memory_mb(pid: int, what: str) -> float:
    """`Rss` or `Pss` of a process by its smaps_rollup; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(what + ":")) / 1_024


def descendants(pid: int) -> list[int]:
    """Children of a process, theirs, and so on."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def settle(data: Path) -> None:
    """Make `data` a node's folder, as its enrolment would."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    enrolled = Enrolled(
        node="bench-node", tenant=TENANT, tenant_name="Bench", site=SITE, site_name="Bench 1",
        name="Bench 1", groups=(), issuer=NOWHERE, jwks={"keys": []},
    )  # fmt: skip
    settled.save(data, settled.Settled(cloud=NOWHERE, enrolled=enrolled))


@contextlib.asynccontextmanager
async def host_in(data: Path, catalogue: Catalogue) -> AsyncIterator[Host]:
    """The node's data, to fill before it runs."""
    path = data / DATABASE_FILE
    store = await SqliteStore.open(path, catalogue.collections, tenant=TENANT)
    try:
        host = Host(
            place=Place(tenant=TENANT, node="bench-node", site=SITE, groups=(), name="Bench 1"),
            store=store,
            catalogue=catalogue,
            wall=SystemWall(),
            route=log_route(catalogue.collections),
        )
        await host.start()
        yield host
    finally:
        await store.close()


@contextlib.contextmanager
def running_node(
    data: Path, *, apps: Sequence[str] = (), path: Sequence[Path] = ()
) -> Iterator[NodeProcess]:
    """Run the node of `data` with these apps (none named: all that are installed) while the context
    lasts; `path` is where Python finds further packages. Raises RuntimeError with its log's end."""
    command = [sys.executable, "-m", "beira.cli", "node", "run", "--data", str(data), "--port", "0"]
    command += [part for name in apps for part in ("--app", name)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, *sys.path]))}
    log = data / "node.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        node = NodeProcess(process.pid, "", log)
        serving = wait_for(node, "node.serving", process)
        yield NodeProcess(process.pid, str(serving["address"]), log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(
    node: NodeProcess, event: str, process: subprocess.Popen[bytes] | None = None
) -> dict[str, object]:
    """The log line of that event, once it is there. Raises RuntimeError."""
    end = time.monotonic() + START_TIMEOUT_S
    while (found := node.said(event)) is None:
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > end:
            raise RuntimeError(f"No {event}: {node.log.read_text(errors='replace')[-2_000:]}")
        time.sleep(0.05)
    return found
