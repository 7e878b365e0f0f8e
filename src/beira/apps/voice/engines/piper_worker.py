"""A program of its own that holds Piper, which is GPL-3: it speaks frames as espeak_worker.py does.

Run by path: `python -I piper_worker.py MODEL.onnx`. A request is a line of JSON `{"text", "length"}`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import struct
import sys

ERROR_BIT = 1 << 31
PIECE_BYTES = 16_384
DIE_WITH_PARENT, KILL = 1, 9


def frame(content: bytes, mark: int = 0) -> None:
    sys.stdout.buffer.write(struct.pack("<I", len(content) | mark) + content)
    sys.stdout.buffer.flush()


def main() -> None:
    """Answer requests until stdin closes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, KILL)
    try:
        from piper import PiperVoice, SynthesisConfig  # type: ignore[import, unused-ignore]

        voice = PiperVoice.load(sys.argv[1])
    except Exception as error:
        frame(f"{type(error).__name__}: {error}".encode()[:1_000], ERROR_BIT)
        return
    frame(str(voice.config.sample_rate).encode())
    for line in sys.stdin.buffer:
        try:
            ask = json.loads(line)
            how = SynthesisConfig(length_scale=ask.get("length"))
            for chunk in voice.synthesize(ask["text"], how):
                sound = chunk.audio_int16_bytes
                for at in range(0, len(sound), PIECE_BYTES):
                    frame(sound[at : at + PIECE_BYTES])
        except Exception as error:
            frame(f"{type(error).__name__}: {error}".encode()[:1_000], ERROR_BIT)
        frame(b"")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
