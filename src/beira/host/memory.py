"""A program's memory once it runs: what stays for good is looked through no more."""

from __future__ import annotations

import asyncio
import gc

SETTLED_AFTER_S = 20


async def settled() -> None:
    """Settle once the program has built what it needs; returns when that is done."""
    await asyncio.sleep(SETTLED_AFTER_S)
    settle()


def settle() -> None:
    """Sort what is garbage from what stays for good. Else each full collection goes through all of it:
    a quarter of a second in which nobody is served, every few hundred requests."""
    gc.collect()
    gc.freeze()
