"""Speech kept on disk: fixed prompts and recent answers are not synthesised twice.

Least recently used files go first when the folder is full, and what nobody asked for in a week goes
anyway, since answers name people. The folder and its files are the owner's alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import structlog

from beira.apps.voice.engines.ports import Sound, TextToSpeech
from beira.sdk import BeiraError, PrivateFiles

log = structlog.get_logger(__name__)
CACHE_BYTES = 16_777_216
ENTRY_BYTES = 2_097_152
KEPT_DAYS = 7
PIECE_BYTES = 8_820
_HEAD = struct.Struct("<4sI")
_MAGIC = b"BSP1"


class SpeechCache:
    """A folder of spoken texts, `most_bytes` at most."""

    def __init__(
        self, folder: Path, files: PrivateFiles | None = None, most_bytes: int = CACHE_BYTES
    ) -> None:
        self._folder = folder
        self._files = files or PrivateFiles()
        self._most_bytes = most_bytes
        self._sizes: dict[str, int] = {}
        self._open()

    @property
    def size_bytes(self) -> int:
        return sum(self._sizes.values())

    def get(self, key: str) -> tuple[int, bytes] | None:
        """(rate in Hz, PCM) of a text spoken before; what is damaged is forgotten."""
        name = self._name(key)
        if name not in self._sizes:
            return None
        path = self._folder / name
        try:
            if len(raw := path.read_bytes()) != self._sizes[name]:
                raise ValueError("damaged")
            magic, rate_hz = _HEAD.unpack_from(data := self._files.opened(raw, path))
            if magic != _MAGIC or not 8_000 <= rate_hz <= 96_000:
                raise ValueError("damaged")
            os.utime(path)
        except (OSError, ValueError, struct.error, BeiraError) as error:
            log.warning("speech_cache.forgotten", why=str(error))
            self._drop(name)
            return None
        self._sizes[name] = self._sizes.pop(name)
        return rate_hz, data[_HEAD.size :]

    def put(self, key: str, rate_hz: int, pcm: bytes) -> None:
        """Keep a text's speech; a full disk is no reason to be silent, so it is only logged."""
        name, size = self._name(key), len(pcm) + _HEAD.size
        if size > min(ENTRY_BYTES, self._most_bytes) or not pcm:
            return
        while self._sizes and self.size_bytes + size > self._most_bytes:
            self._drop(next(iter(self._sizes)))
        path = self._folder / name
        try:
            self._files.write(path, _HEAD.pack(_MAGIC, rate_hz) + pcm)
            size = path.stat().st_size
        except OSError as error:
            log.warning("speech_cache.not_written", why=str(error))
            return
        self._sizes.pop(name, None)
        self._sizes[name] = size

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        oldest_s = time.time() - KEPT_DAYS * 86_400
        found = []
        for path in self._folder.iterdir():
            stat = path.stat()
            if path.suffix == ".new" or stat.st_mtime < oldest_s:
                path.unlink(missing_ok=True)
            elif path.suffix == ".speech":
                found.append((stat.st_mtime, path.name, stat.st_size))
        self._sizes = {name: size for _, name, size in sorted(found)}
        while self.size_bytes > self._most_bytes:
            self._drop(next(iter(self._sizes)))

    def _name(self, key: str) -> str:
        return self._files.name_of(key) + ".speech"

    def _drop(self, name: str) -> None:
        self._sizes.pop(name, None)
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()


class CachedSpeech:
    """Text to speech that remembers. Several voices may fail over: the first that speaks is used."""

    def __init__(self, voices: tuple[TextToSpeech, ...], cache: SpeechCache | None) -> None:
        self._voices = voices
        self._cache = cache

    @property
    def identity(self) -> str:
        return self._voices[0].identity

    async def speak(self, text: str, language: str) -> AsyncGenerator[Sound, None]:
        """See `ports.TextToSpeech`. A voice that fails before its first sound yields to the next."""
        for last, voice in [(v is self._voices[-1], v) for v in self._voices]:
            begun = False
            try:
                async with aclosing(self._spoken(voice, text, language)) as sounds:
                    async for sound in sounds:
                        begun = True
                        yield sound
                return
            except Exception as error:
                if begun or last:
                    raise
                log.warning("speech.next_voice", voice=voice.identity[:40], why=str(error))

    async def warm(self, texts: list[str], language: str) -> None:
        """Have these texts ready."""
        for text in texts:
            async for _ in self.speak(text, language):
                pass
            await asyncio.sleep(0)

    async def _spoken(
        self, voice: TextToSpeech, text: str, language: str
    ) -> AsyncGenerator[Sound, None]:
        key = f"{voice.identity}|{language}|{text}"
        found = self._cache.get(key) if self._cache else None
        if found is not None:
            rate_hz, pcm = found
            for at in range(0, len(pcm), PIECE_BYTES):
                yield Sound(rate_hz, pcm[at : at + PIECE_BYTES])
            return
        kept, rate_hz = bytearray(), 0
        async with aclosing(voice.speak(text, language)) as sounds:
            async for sound in sounds:
                rate_hz = sound.rate_hz
                if len(kept) <= ENTRY_BYTES:
                    kept += sound.pcm
                yield sound
        if self._cache is not None and rate_hz:
            self._cache.put(key, rate_hz, bytes(kept))
