"""What a node takes that does nothing: store, sync, API and pages, with a million records stored.

The records are those of an app made for this: it is found by its entry point like anyone's.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from beira.host.apps import installed
from benchmarks.node_process import Memory, host_in, running_node, settle

NAME = "ledger"
BATCH = 1_000
SETTLE_S = 5.0
_APP = '''
from datetime import datetime
from beira.sdk import IMPORTANT, UP, App, Fact, collection, collection_of


@collection("ledger_entries", flow=UP, lane=IMPORTANT)
class Entry(Fact):
    """About 300 bytes of JSON, as a shop's interactions are."""

    at: datetime
    heard: str
    intent: str
    employee: str
    answer: str
    confidence: float
    latency_ms: int
    confirmed: bool = False


app = App(name="ledger", title="Ledger", collections=(collection_of(Entry),), commands=())
'''


def idle_memory(records: int) -> Memory:
    """Of a node that has these records, of which none is sent yet, once it has come to rest."""
    with tempfile.TemporaryDirectory(prefix="beira-bench-") as folder:
        packages, data = Path(folder) / "packages", Path(folder) / "node"
        _app_in(packages)
        settle(data)
        fill = [sys.executable, "-m", "benchmarks.store_memory", str(data), str(records)]
        path = os.pathsep.join(map(str, [packages, *sys.path]))
        subprocess.run(fill, check=True, env={**os.environ, "PYTHONPATH": path})
        with running_node(data, apps=(NAME,), path=(packages,)) as node:
            time.sleep(SETTLE_S)
            return node.memory()


def _app_in(packages: Path) -> None:
    about = packages / f"beira_{NAME}-1.0.dist-info"
    about.mkdir(parents=True)
    (packages / f"beira_{NAME}.py").write_text(_APP)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: beira-{NAME}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[beira.apps]\n{NAME} = beira_{NAME}:app\n")


async def _fill(data: Path, records: int) -> None:
    from beira_ledger import Entry  # type: ignore[import-not-found]

    async with host_in(data, installed((NAME,))) as host:
        for first in range(0, records, BATCH):
            async with host.writing() as ctx:
                for number in range(first, min(records, first + BATCH)):
                    ctx.put(
                        Entry(
                            at=ctx.now(),
                            heard="aurora registrar ponto do joão às catorze e trinta",
                            intent="register_punch",
                            employee=f"João da Silva {number % 40}",
                            answer="Ponto de João da Silva registrado às 14:30.",
                            confidence=0.97,
                            latency_ms=number % 900,
                        )
                    )


if __name__ == "__main__":
    asyncio.run(_fill(Path(sys.argv[1]), int(sys.argv[2])))
