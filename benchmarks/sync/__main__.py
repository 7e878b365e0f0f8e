from __future__ import annotations
import argparse, asyncio, statistics, tempfile
from pathlib import Path
import structlog
from benchmarks.figures import figure, percentile
from benchmarks.sync import bare
from benchmarks.sync.cloud import Cloud, cloud
from benchmarks.sync.node import node
from benchmarks.sync.workload import RECORDS, interactions, json_bytes

async def push(at: Cloud, folder: Path, rounds: int) -> None:
    ours, theirs = [], []
    for i in range(rounds):
        made = interactions(RECORDS)
        async with node(folder, at.address, f"push-{i}") as one:
            await one.write(made)
            ours.append(await one.drained())
            up_bytes = one.agent.state.bytes_sent
        box = bare.Outbox(folder / f"bare-{i}.db", at.address)
        for record in made: record.id = "b" + record.id[1:]
        box.write(made)
        took_s, bare_bytes = await box.push()
        theirs.append(took_s)
        print(RECORDS/ours[-1], RECORDS/theirs[-1], up_bytes/json_bytes(made), bare_bytes/json_bytes(made))

async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="beira-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name); folder.chmod(0o755)
        async with cloud(folder / "cloud") as at:
            await push(at, folder, 6)

asyncio.run(main())
