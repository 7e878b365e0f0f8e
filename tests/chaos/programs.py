"""Programs that are started and killed over and over. They are forked from a process that has loaded
them already: a start costs what the program does, not what Python does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.acceptance.support import until

_NURSERY = """
import ctypes, json, os, signal, sys
import msgspec
import beira.cli, beira.cloud.program, beira.node.__main__, beira.node.program
from beira.kernel import limits
from tests.acceptance.support import deaf
node = beira.node.__main__
node.become = lambda options: node.main(msgspec.json.encode(options))
beira.node.program.installed = beira.cloud.program.installed = deaf
limits.RECONNECT_MOST_S = 1
libc = ctypes.CDLL(None)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        libc.prctl(1, signal.SIGKILL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        said = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(nothing, 0), os.dup2(said, 1), os.dup2(said, 2)
        sys.argv = ["beira", *asked["arguments"]]
        try:
            beira.cli.main()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    print(pid, flush=True)
"""


class Nursery:
    """Forks programs, which end with it. They are nobody's children here, so `kill` asks the kernel who
    is left."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, log: Path, arguments: tuple[str, ...]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(
            json.dumps({"log": str(log), "arguments": arguments}),
            file=self._process.stdin,
            flush=True,
        )
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass
class Forked:
    """One program, again and again. `url` is where it answers."""

    nursery: Nursery
    log: Path
    arguments: tuple[str, ...]
    url: str
    pid: int = 0
    kills: int = 0

    def start(self) -> None:
        self.pid = self.nursery.start(self.log, self.arguments)

    def alive(self) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 0)
            return True
        return False

    async def kill(self) -> None:
        """As a power cut does: nothing is said, nothing tidied."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        await until(lambda: not self.alive(), "it is gone", every_s=0.002)
        self.kills += 1

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-2_000:] if self.log.exists() else ""

    async def answers(self, web: aiohttp.ClientSession) -> None:
        """Wait until it serves."""

        async def healthy() -> bool:
            assert self.alive(), self.said()
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                timeout = aiohttp.ClientTimeout(total=2)
                async with web.get(self.url + "/healthz", timeout=timeout) as answer:
                    return answer.status == 200
            return False

        await until(healthy, f"{self.url} answers: {self.said()}")
