"""A process of its own that holds espeak-ng: it is GPL-3, and now and then it crashes.

Run as `python -m beira.apps.voice.recogniser.espeak_child [data folder]`. One JSON request a line
on stdin: `{"text", "voice", "rate", "pitch", "range", "audio"}`. One answer a request on stdout: a
line of JSON `{"ipa", "rate_hz", "bytes"}` followed by that many bytes of int16 mono PCM. A request
`{"words": [...]}` is answered `{"ipas": [...], "bytes": 0}`.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SYNCHRONOUS, DONT_EXIT = 2, 0x8000
UTF8, IPA = 1, 0x02 | (ord(".") << 8)
RATE, PITCH, RANGE = 1, 3, 4


class Espeak:
    """The espeak-ng library, loaded into this process."""

    def __init__(self, data: str | None = None) -> None:
        import espeakng_loader  # type: ignore[import-untyped, unused-ignore]

        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = data or espeakng_loader.get_data_path()
        self.rate_hz = int(self._lib.espeak_Initialize(SYNCHRONOUS, 0, folder.encode(), DONT_EXIT))
        if self.rate_hz <= 0:
            raise RuntimeError(f"espeak-ng found no data in {folder}")
        self._lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._pcm = bytearray()
        self._callback = _callback_type()(self._collect)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, wav: Any, count: int, _events: Any) -> int:
        if wav and count > 0:
            self._pcm += ctypes.string_at(wav, count * 2)
        return 0

    def use(self, voice: str, rate: int, pitch: int, pitch_range: int) -> None:
        """Choose the voice (`pt-br`, `pt-br+f2`), words a minute, pitch and its range (0 to 99)."""
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice {voice}")
        for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, pitch_range)):
            self._lib.espeak_SetParameter(parameter, value, 0)

    def ipa(self, text: str) -> str:
        """Sounds of the text; words apart by spaces, sounds by dots."""
        at = ctypes.c_char_p(text.encode())
        parts: list[str] = []
        while at.value:
            part = self._lib.espeak_TextToPhonemes(ctypes.byref(at), UTF8, IPA)
            parts.append((part or b"").decode())
        return " | ".join(parts)

    def speak(self, text: str) -> bytes:
        """The text spoken: int16 mono PCM at `rate_hz`."""
        self._pcm.clear()
        raw = text.encode() + b"\0"
        self._lib.espeak_Synth(raw, len(raw), 0, 1, 0, UTF8, None, None)
        return bytes(self._pcm)


def _callback_type() -> Callable[..., Any]:
    return ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )


def main() -> None:
    """Answer requests until stdin closes."""
    data = sys.argv[1] if len(sys.argv) > 1 and Path(sys.argv[1]).is_dir() else None
    espeak = Espeak(data)
    out = sys.stdout.buffer
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            espeak.use(ask.get("voice", "pt-br"), ask.get("rate", 165), ask.get("pitch", 50),
                       ask.get("range", 50))  # fmt: skip
            reply, pcm = _answer(espeak, ask)
        except RuntimeError as error:
            reply, pcm = {"error": str(error), "bytes": 0}, b""
        out.write(json.dumps(reply).encode() + b"\n" + pcm)
        out.flush()


def _answer(espeak: Espeak, ask: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    if "words" in ask:
        return {"ipas": [espeak.ipa(word) for word in ask["words"]], "bytes": 0}, b""
    pcm = espeak.speak(ask["text"]) if ask.get("audio") else b""
    return {"ipa": espeak.ipa(ask["text"]), "rate_hz": espeak.rate_hz, "bytes": len(pcm)}, pcm


if __name__ == "__main__":
    main()
