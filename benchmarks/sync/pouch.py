"""The peer everybody knows: PouchDB to express-pouchdb, LevelDB at both ends, batches of 1000.

It is installed from the npm registry into `.cache/pouchdb` the first time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from beira.kernel.record import Record
from benchmarks.sync.workload import plain

NAME = "PouchDB 9 to express-pouchdb 4.2"
PACKAGES = ("pouchdb@9.0.0", "express-pouchdb@4.2.0", "express@4")
HERE = Path(__file__).parent / "js"
HOME = Path(__file__).parents[2] / ".cache" / "pouchdb"
INSTALL_S = 300.0
STEP_S = 120.0


async def missing() -> str:
    """Why it cannot be measured here; empty if it can."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "node or npm is not installed"
    if not (HOME / "node_modules" / "express-pouchdb").exists():
        HOME.mkdir(parents=True, exist_ok=True)
        command = ("npm", "install", "--prefix", str(HOME), "--no-audit", "--no-fund", *PACKAGES)
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        if await asyncio.wait_for(process.wait(), INSTALL_S):
            return "npm could not install it"
    return ""


class Pouch:
    """A running server, and steps of nodes against it, each a process of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    async def push(self, records: list[Record], name: str, port: int = 0) -> float:
        """Seconds until all are at the server, written to the node's database before."""
        return await self._step("push", name, self._written(records, name), port)

    async def fill(self, records: list[Record], name: str) -> None:
        """Write them at the server, for nodes to pull."""
        await self._step("fill", name, self._written(records, name), 0)

    async def pull(self, name: str) -> float:
        """Seconds until a fresh node has all of it."""
        return await self._step("pull", name, "", 0)

    def _written(self, records: list[Record], name: str) -> str:
        given = [{"_id": made.pop("id"), **made} for made in map(plain, records)]
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(given))
        return str(path)

    async def _step(self, step: str, name: str, data: str, port: int) -> float:
        url = f"http://127.0.0.1:{port or self.port}/{name}"
        process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "client.js"), step, str(_made(self.folder / f"{step}-{name}")), url,
            data, env=_environment(), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), STEP_S)
        told: dict[str, Any] = json.loads(out)
        return float(told["took_s"])


@contextlib.asynccontextmanager
async def pouch(folder: Path) -> AsyncIterator[Pouch]:
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE / "server.js"), str(_made(folder / "server")), env=_environment(),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, cwd=_made(folder / "server"),
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), STEP_S))
        yield Pouch(folder, port)
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), STEP_S)


def _environment() -> dict[str, str]:
    return {**os.environ, "NODE_PATH": str(HOME / "node_modules"), "NODE_NO_WARNINGS": "1"}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
