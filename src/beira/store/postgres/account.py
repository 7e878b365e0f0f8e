"""As whom the embedded server runs: as ourselves, or under root, whom PostgreSQL refuses, as `nobody`.

Root's own folders (/root, a private checkout) are closed to `nobody`. Where the server must pass
through one to reach its files, it keeps one capability of root's: reading and searching directories
(or, where a container has not got that one, overriding file permissions). It is said in the log.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from beira.kernel import limits

_log = structlog.get_logger(__name__)
NAME = "nobody"
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT = 1, 8, 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


class Account:
    """The server's account. `become` is for a child's `preexec_fn`."""

    def __init__(self) -> None:
        self.is_other = os.geteuid() == 0
        entry = pwd.getpwnam(NAME) if self.is_other else None
        self.uid = entry.pw_uid if entry else os.geteuid()
        self._gid = entry.pw_gid if entry else os.getegid()
        self._capability: int | None = None

    def own(self, path: Path) -> None:
        """Give `path` to the account."""
        if self.is_other:
            os.chown(path, self.uid, -1)

    def reach(self, directory: Path, binary: Path) -> bool:
        """Make sure that the account can enter `directory` and run `binary`; whether it can."""
        if not self.is_other or self._can_reach(directory, binary):
            return True
        for capability in (_DAC_READ_SEARCH, _DAC_OVERRIDE):
            self._capability = capability
            if self._can_reach(directory, binary):
                _log.warning(
                    "postgres.passes_root_folders",
                    account=NAME,
                    hint="Run Beira as an account of its own, and this is not needed.",
                )
                return True
        return False

    def become(self, *, end_with_parent: bool) -> Callable[[], None] | None:
        """What the child does before it becomes the program: change account, and ask Linux for a
        fast shutdown when the thread that started it is gone. All is loaded before the fork."""
        linux = sys.platform.startswith("linux")
        if not self.is_other and not (linux and end_with_parent):
            return None
        libc = ctypes.CDLL(None, use_errno=True)

        def change() -> None:
            if self.is_other:
                libc.prctl(_PR_SET_KEEPCAPS, 0 if self._capability is None else 1, 0, 0, 0)
                os.setgroups([])
                os.setresgid(self._gid, self._gid, self._gid)
                os.setresuid(self.uid, self.uid, self.uid)
                if self._capability is not None:
                    _keep(libc, self._capability)
            if linux and end_with_parent:
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)

        return change

    def _can_reach(self, directory: Path, binary: Path) -> bool:
        look = 'cd "$1" && exec "$2" --version'
        try:
            subprocess.run(
                ["/bin/sh", "-c", look, "sh", str(directory), str(binary)],
                preexec_fn=self.become(end_with_parent=False),
                check=True,
                capture_output=True,
                timeout=limits.ACCOUNT_CHECK_S,
                cwd="/",
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return True


def _keep(libc: ctypes.CDLL, capability: int) -> None:
    """Keep just this capability, through the change of account and of program."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    bit = 1 << capability
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if libc.capset(header, sets) or libc.prctl(
        _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "capability not granted")
