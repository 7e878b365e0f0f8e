"""Time and chance, the two things the kernel may not know. The simulator gives its own."""

from __future__ import annotations

import os
import time
from typing import Protocol


class Wall(Protocol):
    """Where time and random ids come from."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, as the machine believes them."""
        ...

    def monotonic_s(self) -> float: ...

    def new_id(self) -> str:
        """A new record id: unique everywhere, and rising with time."""
        ...


class SystemWall:
    """The machine's own."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def new_id(self) -> str:
        """A UUID of version 7 (RFC 9562): 48 bits of time, then 74 random ones."""
        value = (self.now_ms() << 80) | int.from_bytes(os.urandom(10), "big")
        value = (value & ~(0xF << 76)) | (0x7 << 76)
        value = (value & ~(0x3 << 62)) | (0x2 << 62)
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
