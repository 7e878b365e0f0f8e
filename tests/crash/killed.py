"""Runs something over and over, killed each time one step later: `python -m tests.crash.killed`.

A step is whatever changes a disk: a file opened to be written, a name made, moved or taken away, a
page written or synced by SQLite. The process dies by SIGKILL just before its n-th. Loading Python is
dear, so this one loads once and forks for each kill.

Arguments: the folder to work on (a fresh copy of it each time), the folder for the copies, the first
step, the distance to the next, and what to do: where the key is to be (`at_rest.rekey`), or `repair`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import apsw

from beira.node import at_rest
from beira.store.sqlite import alone, replace, salvage
from tests.contract.records import REGISTRY

_CHANGES = {"os.rename", "os.remove", "os.link", "os.truncate", "os.mkdir"}


class Countdown:
    """Kills this process at the n-th step."""

    def __init__(self, left: int) -> None:
        self._left = left

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """For `sys.addaudithook`."""
        writes = event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if writes or event in _CHANGES:
            self.step()


class CountingVFS(apsw.VFS):
    """Below the encryption, which finds a log's database by what only its own neighbour passes on."""

    def __init__(self, countdown: Countdown) -> None:
        self.countdown = countdown
        super().__init__("counting", "unix")
        name = "multipleciphers-counting"
        apsw.Connection(":memory:", vfs=name).close()
        apsw.set_default_vfs(name)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return CountingFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.countdown.step()
        super().xDelete(filename, syncdir)


class CountingFile(apsw.VFSFile):
    def __init__(self, vfs: CountingVFS, name: Any, flags: list[int]) -> None:
        self.countdown = vfs.countdown
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.countdown.step()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self.countdown.step()
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:
        self.countdown.step()
        super().xTruncate(size)


def child(folder: Path, left: int, to: str) -> None:
    countdown = Countdown(left)
    vfs = CountingVFS(countdown)
    sys.addaudithook(countdown.heard)
    if to == "repair":
        repair(folder / "node" / at_rest.DATABASE_FILE)
    else:
        at_rest.rekey(folder / "node", to.format(folder=folder))
    del vfs
    os._exit(0)


def repair(path: Path) -> None:
    """Save what can be read, and put it in place."""
    with alone(path):
        fresh = path.with_name("fresh.db")
        salvage(path, None, fresh, REGISTRY)
        aside = next(n for n in range(99) if not path.with_name(f"aside{n}").exists())
        replace(path, fresh, path.with_name(f"aside{aside}"))


def main() -> None:
    """Prints `killed N` for each kill, and `done N` for the first run that was over before its step."""
    template, copies = Path(sys.argv[1]), Path(sys.argv[2])
    step, apart, to = int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    while True:
        folder = copies / str(step)
        shutil.copytree(template, folder)
        envelope = folder / "node" / at_rest.FILE
        if envelope.exists():  # each copy has a key of its own, beside it
            envelope.write_text(envelope.read_text().replace(str(template), str(folder)))
        pid = os.fork()
        if pid == 0:
            try:
                child(folder, step, to)
            finally:
                os._exit(3)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("done" if status == 0 else "killed", step, flush=True)
        if status != -signal.SIGKILL:
            sys.exit(status)
        step += apart


if __name__ == "__main__":
    main()
