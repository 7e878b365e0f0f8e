"""The built-in voice: it speaks, outlives its own crashes, and what it said once is not made twice."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest

from beira.apps.voice.engines.cache import CachedSpeech, SpeechCache
from beira.apps.voice.engines.child import FramesChild
from beira.apps.voice.engines.espeak import SPEAK_CHARS, Espeak
from beira.apps.voice.engines.ports import Sound
from beira.sdk import BeiraError, Unavailable

from .conftest import spoken

VARIES = 0.02  # espeak-ng never speaks twice to the sample
SENTENCE = "Ponto do João registrado às quatorze e trinta. O leite custa quatro reais."


async def test_it_speaks_audibly_in_both_languages(espeak: Espeak) -> None:
    for language in ("pt-BR", "en"):
        rate_hz, pcm = await spoken(espeak, SENTENCE, language)
        loudness = np.abs(np.frombuffer(pcm, "<i2").astype(int)).max()
        assert 2.0 < len(pcm) / 2 / rate_hz < 12.0
        assert 3_000 < loudness < 32_767


async def test_a_child_killed_in_mid_sentence_is_replaced_and_the_sentence_goes_on(
    espeak: Espeak,
) -> None:
    _, whole = await spoken(espeak, SENTENCE)
    heard = b""
    async for sound in espeak.speak(SENTENCE, "pt-BR"):
        if not heard:
            assert espeak.child.pid is not None
            os.kill(espeak.child.pid, signal.SIGKILL)
            await asyncio.sleep(0.05)
        heard += sound.pcm
    assert abs(len(heard) - len(whole)) < len(whole) * VARIES
    assert espeak.child.restarts <= 1


async def test_a_child_killed_between_sentences_is_not_noticed_by_anyone(espeak: Espeak) -> None:
    before = espeak.child.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    _, pcm = await spoken(espeak, SENTENCE)
    assert len(pcm) > 10_000
    assert espeak.child.pid != before


async def test_a_listener_who_leaves_early_does_not_spoil_the_next_sentence(espeak: Espeak) -> None:
    _, whole = await spoken(espeak, SENTENCE)
    answer = espeak.speak(
        "Uma frase bem comprida que ninguém vai ouvir até o fim, pois é.", "pt-BR"
    )
    await anext(answer)
    await answer.aclose()
    _, again = await spoken(espeak, SENTENCE)
    assert abs(len(again) - len(whole)) < len(whole) * VARIES


@pytest.mark.parametrize("text", ["", "   ", "\x00\x07", "a" * (SPEAK_CHARS + 1)])
async def test_no_text_or_too_much_is_refused(espeak: Espeak, text: str) -> None:
    with pytest.raises(BeiraError) as refused:
        await spoken(espeak, text)
    assert refused.value.code in ("tts.empty", "tts.too_long")


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE x; --", "<speak>oi</speak>", "🙂 ok", '{"a": 1}\n{']
)
async def test_odd_text_is_only_text(espeak: Espeak, text: str) -> None:
    _, pcm = await spoken(espeak, text)
    assert pcm
    assert espeak.child.restarts == 0


HANGS = """
import struct, sys, time
sys.stdout.buffer.write(struct.pack("<I", 5) + b"16000"); sys.stdout.buffer.flush()
sys.stdin.readline(); time.sleep(600)
"""
DIES = """
import struct, sys
sys.stdout.buffer.write(struct.pack("<I", 5) + b"16000"); sys.stdout.buffer.flush()
sys.stdin.readline(); sys.exit(3)
"""
BABBLES = "import sys; sys.stdout.buffer.write(b'\\xff\\xff\\xff\\x7f' * 100); sys.stdout.flush()"


@pytest.mark.parametrize("program", [HANGS, DIES, BABBLES, "syntax error here"])
async def test_a_child_that_never_works_is_an_error_and_not_a_wait(
    tmp_path: Path, program: str
) -> None:
    path = tmp_path / "child.py"
    path.write_text(program)
    child = FramesChild([str(path)], what="this child", frame_timeout_s=0.3)
    with pytest.raises(Unavailable) as failed:
        async for _ in child.ask(b"{}"):
            pass
    assert failed.value.code == "tts.failed"
    assert child.pid is None


async def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import asyncio, os\n"
        "from beira.apps.voice.engines.espeak import Espeak\n"
        "async def main():\n"
        "    e = Espeak(); await e.start(); print(e.child.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    child = int(await process.stdout.readline())
    await process.wait()
    async with asyncio.timeout(10):
        while _alive(child):
            await asyncio.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class Counting:
    """A voice that counts how often it was asked; `fails` before any sound, or never."""

    identity = "counting"

    def __init__(self, *, fails: bool = False, size: int = 2_000) -> None:
        self.asked, self.fails, self.size = 0, fails, size

    async def speak(self, text: str, language: str) -> AsyncGenerator[Sound, None]:
        self.asked += 1
        if self.fails:
            raise Unavailable("away")
        yield Sound(16_000, b"\1\0" * (self.size // 2))


async def test_what_was_said_once_comes_from_the_disk(tmp_path: Path) -> None:
    voice = Counting()
    first = await spoken(CachedSpeech((voice,), SpeechCache(tmp_path)), "Oi")
    again = await spoken(CachedSpeech((voice,), SpeechCache(tmp_path)), "Oi")
    assert first == again
    assert voice.asked == 1


async def test_the_cache_holds_its_limit_and_drops_what_was_used_least_recently(
    tmp_path: Path,
) -> None:
    cache, voice = SpeechCache(tmp_path, most_bytes=7_000), Counting()
    speech = CachedSpeech((voice,), cache)
    for text in ("a", "b", "c"):
        await spoken(speech, text)
    await spoken(speech, "a")
    await spoken(speech, "d")
    assert cache.size_bytes <= 7_000
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) == cache.size_bytes
    voice.asked = 0
    await spoken(speech, "a")
    assert voice.asked == 0
    await spoken(speech, "b")
    assert voice.asked == 1


async def test_a_damaged_entry_is_made_anew(tmp_path: Path) -> None:
    voice = Counting()
    speech = CachedSpeech((voice,), SpeechCache(tmp_path))
    whole = await spoken(speech, "Oi")
    next(tmp_path.iterdir()).write_bytes(b"BSP1\0\0")
    assert await spoken(speech, "Oi") == whole
    assert voice.asked == 2


async def test_the_cache_is_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "speech"
    await spoken(CachedSpeech((Counting(),), SpeechCache(folder)), "Oi")
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (folder, *folder.iterdir())]
    assert modes == [0o700, 0o600]


async def test_a_voice_that_fails_yields_to_the_next(tmp_path: Path) -> None:
    away, there = Counting(fails=True), Counting()
    assert await spoken(CachedSpeech((away, there), None), "Oi") == (16_000, b"\1\0" * 1_000)
    with pytest.raises(Unavailable):
        await spoken(CachedSpeech((away,), None), "Oi")


async def test_a_cache_on_a_full_disk_costs_the_cache_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, voice = SpeechCache(tmp_path), Counting()

    def full(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("beira.apps.voice.engines.cache.os.open", full)
    assert await spoken(CachedSpeech((voice,), cache), "Oi")
    assert cache.size_bytes == 0
