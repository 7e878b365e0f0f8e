"""A program of its own that holds espeak-ng for speaking: it is GPL-3, and now and then it crashes.

Run by path, not as a module, so that nothing of Beira is loaded into it:
`python -I espeak_worker.py LIBRARY DATA`. On stdin come requests, each a line of JSON
`{"text", "voice", "rate", "pitch", "range", "gap"}`; on stdout go frames, each four bytes of length
and as many of content. The first frame is the rate in Hz as text; then, for each request, frames of
int16 mono PCM and an empty frame. A frame of length 2**31 plus n holds an error of n bytes instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import struct
import sys
from typing import Any, BinaryIO

SYNCHRONOUS, DONT_EXIT, UTF8 = 2, 0x8000, 1
RATE, PITCH, RANGE, GAP = 1, 3, 4, 7
BUFFER_MS = 60
ERROR_BIT = 1 << 31
DIE_WITH_PARENT, KILL = 1, 9


def load(library: str, data: str) -> tuple[Any, int]:
    """The library, ready, and its rate in Hz."""
    lib = ctypes.CDLL(library)
    rate_hz = int(lib.espeak_Initialize(SYNCHRONOUS, BUFFER_MS, data.encode(), DONT_EXIT))
    if rate_hz <= 0:
        raise RuntimeError(f"espeak-ng found no data in {data}")
    return lib, rate_hz


def frame(out: BinaryIO, content: bytes, mark: int = 0) -> None:
    out.write(struct.pack("<I", len(content) | mark) + content)
    out.flush()


def speak(lib: Any, ask: dict[str, Any]) -> None:
    """Speak one request; the sound goes out through the callback."""
    if lib.espeak_SetVoiceByName(str(ask["voice"]).encode()) != 0:
        raise RuntimeError(f"espeak-ng has no voice {ask['voice']}")
    for number, key in ((RATE, "rate"), (PITCH, "pitch"), (RANGE, "range"), (GAP, "gap")):
        lib.espeak_SetParameter(number, int(ask[key]), 0)
    raw = str(ask["text"]).encode() + b"\0"
    lib.espeak_Synth(raw, len(raw), 0, 1, 0, UTF8, None, None)


def main() -> None:
    """Answer requests until stdin closes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, KILL)
    out = sys.stdout.buffer
    try:
        lib, rate_hz = load(sys.argv[1], sys.argv[2])
    except (OSError, RuntimeError) as error:
        frame(out, str(error).encode(), ERROR_BIT)
        return
    kind = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )

    def deliver(wav: Any, count: int, _events: Any) -> int:
        if wav and count > 0:
            frame(out, ctypes.string_at(wav, count * 2))
        return 0

    callback = kind(deliver)
    lib.espeak_SetSynthCallback(callback)
    frame(out, str(rate_hz).encode())
    for line in sys.stdin.buffer:
        try:
            speak(lib, json.loads(line))
        except (RuntimeError, ValueError, KeyError) as error:
            frame(out, str(error).encode(), ERROR_BIT)
        frame(out, b"")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
