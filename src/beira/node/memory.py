"""Small machines: what a node has no need of is not loaded, and what it took is given back."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
ARENAS = 1
MMAP_FROM_BYTES = 262_144
GIVE_BACK_EVERY_S = 60

OPTIONAL = ("rich", "pydantic", "attrs", "better_exceptions", "opentelemetry")
"""What structlog, Litestar and uvicorn would load if they found it: for colours, models of other kinds
and command lines, together some 10 MB."""


@contextlib.contextmanager
def without(names: tuple[str, ...] = OPTIONAL) -> Iterator[None]:
    """While the context lasts, packages that only some would use are not to be found by anyone who
    looks. Those already loaded stay, and afterwards an app may import whichever it needs."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, ...) is None:
                del sys.modules[name]


def sparing() -> None:
    """To be called first: one heap for all threads, whose large pieces go back at once; and one thread
    for products of matrices, as each further one would keep buffers of its own."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if mallopt := _libc("mallopt"):
        mallopt(M_ARENA_MAX, ARENAS)
        mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES)
        mallopt(M_TRIM_THRESHOLD, MMAP_FROM_BYTES)


def loading() -> None:
    """While a program loads there is no garbage worth looking for: until `give_back` has settled it."""
    gc.disable()


async def give_back() -> None:
    """Once the apps have built what they need, sort what is garbage from what stays for good; from
    then on return what was freed, every now and then."""
    from beira.host.memory import settled  # what comes with it would be loaded before `without`

    await settled()
    gc.enable()
    while True:
        if trim := _libc("malloc_trim"):
            await asyncio.to_thread(trim, 0)
        await asyncio.sleep(GIVE_BACK_EVERY_S)


def _libc(name: str) -> Callable[..., Any] | None:
    """A function of glibc, where that is what runs."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)
