"""The programs under load, as processes of their own, and what the kernel says of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

START_S = 240.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A program that serves on `port`."""

    def __init__(self, arguments: list[str], port: int, log: Path) -> None:
        self.port = port
        self._arguments = arguments
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, *self._arguments], stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while True:
                assert self._process.poll() is None, self._log.read_text()[-2_000:]
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"http://127.0.0.1:{self.port}/healthz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._process.wait, START_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def memory_kb(self) -> float:
        """Its own share of memory (PSS), without PostgreSQL."""
        return _rollup(self.pid)

    def cpu_s(self) -> float:
        return _cpu_s(self.pid, ended=False)

    def database_cpu_s(self) -> float:
        """What PostgreSQL's processes took, those that have ended too."""
        return sum(_cpu_s(pid, ended=True) for pid in _below(self.pid))


@contextlib.asynccontextmanager
async def process(arguments: list[str], port: int, log: Path) -> AsyncIterator[Process]:
    one = Process(arguments, port, log)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _rollup(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    return 0.0


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_s(pid: int, *, ended: bool) -> float:
    with contextlib.suppress(OSError):
        found = _stat(pid)
        return sum(int(found[i]) for i in (range(11, 15) if ended else range(11, 13))) / _TICKS
    return 0.0


def _below(pid: int) -> set[int]:
    """All processes under `pid`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    found: set[int] = set()
    while more := {p for p, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found
