"""Giving memory back: what a rebuild or a turn needed for a moment should not be held all day."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return free heap to the system, where the C library can (glibc). Takes a millisecond or two."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
