"""A program's memory once it runs: what stays for good is looked through no more, and what was freed goes
back to the system."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable
from typing import Any

SETTLED_AFTER_S = 20
GIVE_BACK_EVERY_S = 60


def settle() -> None:
    """Sort what is garbage from what stays for good. Else each full collection goes through all of it:
    a quarter of a second in which nobody is served, every few hundred requests."""
    gc.collect()
    gc.freeze()


async def give_back() -> None:
    """Once the apps have built what they need, settle; from then on return what was freed, every now
    and then."""
    await asyncio.sleep(SETTLED_AFTER_S)
    settle()
    while True:
        if trim := libc("malloc_trim"):
            await asyncio.to_thread(trim, 0)
        await asyncio.sleep(GIVE_BACK_EVERY_S)


def libc(name: str) -> Callable[..., Any] | None:
    """A function of glibc, where that is what runs."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)
