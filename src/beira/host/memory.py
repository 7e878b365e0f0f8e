"""A program's memory once it runs: what stays for good is looked through no more."""

from __future__ import annotations

import asyncio
import gc

SETTLED_AFTER_S = 20
YOUNG, OLDER, OLD = 50_000, 20, 50


def hold_much() -> None:
    """For a program with many connections: what lives as long as a visit does is no longer taken for
    something that stays. Else all of them are looked through again and again, for a third of the time
    at ten thousand."""
    gc.set_threshold(YOUNG, OLDER, OLD)


async def settled() -> None:
    """Settle once the program has built what it needs; returns when that is done."""
    await asyncio.sleep(SETTLED_AFTER_S)
    settle()


def settle() -> None:
    """Sort what is garbage from what stays for good. Else each full collection goes through all of it:
    a quarter of a second in which nobody is served, every few hundred requests."""
    gc.collect()
    gc.freeze()
