"""faster-whisper and Piper, by their real packages, on models made here or said to be missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beira.apps.voice.engines.piper import Piper, checked_voice
from beira.apps.voice.engines.ports import HEARD_HZ
from beira.apps.voice.engines.whisper import Whisper, checked_model
from beira.sdk import Misconfigured, TooLarge, Unavailable

from .conftest import spoken
from .tiny_models import tiny_piper, tiny_whisper

TONE = (6_000 * np.sin(np.arange(HEARD_HZ) / 4)).astype(np.int16)


def test_a_missing_whisper_model_is_said_with_what_belongs_there(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    with pytest.raises(Misconfigured) as missing:
        checked_model(str(tmp_path))
    assert missing.value.code == "stt.model_missing"
    assert "model.bin" in missing.value.message


def test_a_missing_piper_voice_is_said_with_what_belongs_there(tmp_path: Path) -> None:
    pytest.importorskip("piper")
    with pytest.raises(Misconfigured) as missing:
        checked_voice(str(tmp_path / "faber.onnx"))
    assert missing.value.code == "tts.model_missing"


async def test_piper_speaks_through_its_own_process(tmp_path: Path) -> None:
    pytest.importorskip("piper")
    pytest.importorskip("onnx")
    voice = Piper(str(tiny_piper(tmp_path / "tone.onnx")))
    try:
        rate_hz, pcm = await spoken(voice, "Bom dia, tudo bem?")
        again = await spoken(voice, "Bom dia, tudo bem?")
    finally:
        await voice.close()
    wave = np.frombuffer(pcm, "<i2")
    assert rate_hz == 22_050
    assert len(wave) > 2_000
    assert np.abs(wave.astype(int)).max() > 5_000
    assert again == (rate_hz, pcm)


async def test_a_broken_piper_voice_is_unavailable(tmp_path: Path) -> None:
    pytest.importorskip("piper")
    for name in ("bad.onnx", "bad.onnx.json"):
        (tmp_path / name).write_text("{}")
    voice = Piper(str(tmp_path / "bad.onnx"))
    with pytest.raises(Unavailable) as broken:
        await spoken(voice, "Oi")
    assert broken.value.code == "tts.failed"
    await voice.close()


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("faster_whisper")
    return tiny_whisper(tmp_path_factory.mktemp("whisper"))


async def test_whisper_hears_by_its_real_path(whisper_folder: Path) -> None:
    whisper = Whisper(str(whisper_folder), threads=1)
    listening = await whisper.listen("pt-BR")
    for at in range(0, len(TONE), 640):
        await listening.feed(TONE[at : at + 640])
    heard = await listening.finish()
    assert isinstance(heard.text, str)
    assert heard.confidence is None
    whisper.close()


async def test_whisper_refuses_what_is_too_long_and_hears_nothing_in_nothing(
    whisper_folder: Path,
) -> None:
    whisper = Whisper(str(whisper_folder), threads=1)
    empty = await whisper.listen("pt-BR")
    assert (await empty.finish()).text == ""
    listening = await whisper.listen("pt-BR")
    with pytest.raises(TooLarge):
        for _ in range(60):
            await listening.feed(TONE)
    whisper.close()


async def test_a_damaged_whisper_model_is_unavailable(whisper_folder: Path, tmp_path: Path) -> None:
    for path in whisper_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:200])
    whisper = Whisper(str(tmp_path), threads=1)
    listening = await whisper.listen("pt-BR")
    await listening.feed(TONE)
    with pytest.raises(Unavailable) as damaged:
        await listening.finish()
    assert damaged.value.code == "stt.failed"
    whisper.close()
