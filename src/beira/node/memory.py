"""Small machines: what starting up took and no longer needs is given back to the system."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys

M_ARENA_MAX = -8
ARENAS = 2
SETTLED_AFTER_S = 20


def few_arenas() -> None:
    """Keep glibc from giving each thread an arena of its own: they are never joined again."""
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_ARENA_MAX, ARENAS)


async def give_back() -> None:
    """Once the apps have built what they need, sort what is garbage from what stays for good."""
    await asyncio.sleep(SETTLED_AFTER_S)
    gc.collect()
    gc.freeze()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
