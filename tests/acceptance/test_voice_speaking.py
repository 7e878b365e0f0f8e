"""Somebody speaks at a shop's node with the network down, and it is done and answered.

Real audio through the real pipeline: speech made by espeak-ng with another voice than Aurora's, the
recogniser that comes with the app, the commands, SQLite.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from beira.apps.voice.records import Person
from beira.kernel.system import Setting
from tests.unit.voice_engines.shop import Shop, as_wav, said, shop

DONE_WITHIN_S = 60


@pytest.fixture
async def angeloni(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(tmp_path) as made:
        yield made


async def test_a_punch_said_aloud_is_in_the_books(angeloni: Shop) -> None:
    wav = as_wav(await said("aurora registrar entrada do joão silva às oito e quinze da manhã"))
    report = await angeloni.voice.hear_wav(wav, door="wav", session="a")
    assert "joão" in report["heard"]
    if report["choices"]:
        report = await angeloni.voice.say("sim", door="text", session="a")
    punches = await angeloni.rows("punches")
    assert [p["employee"] for p in punches] == ["João Silva"]
    assert report["understood"] and report["ok"]
    talks = await angeloni.rows("interactions")
    assert {t["trace"] for t in talks} >= {punches[0]["trace"]}
    assert {"speech_end_detect", "stt", "first_sound", "total"} <= set().union(
        *(t["stages_ms"] for t in talks)
    )


async def test_a_price_asked_aloud_is_answered(angeloni: Shop) -> None:
    report = await angeloni.voice.hear_wav(
        as_wav(await said("quanto custa o café torrado")), door="wav"
    )
    assert report["heard"].endswith("café torrado")
    assert "18" in report["show"] or "dezoito" in report["show"]
    assert report["timings"]["total"] > 0


async def hear(made: Shop, text: str) -> dict[str, object]:
    """Said aloud, and confirmed where that is asked for."""
    report = await made.voice.hear_wav(as_wav(await said(text)), door="wav", session="a")
    if report["choices"]:
        report = await made.voice.say("sim", door="text", session="a")
    assert report["ok"], (text, report)
    return report


async def test_whose_punch_it_was_is_put_right_aloud_and_then_cancelled(angeloni: Shop) -> None:
    await hear(angeloni, "registrar entrada do joão silva às oito e quinze da manhã")
    await hear(angeloni, "não foi a maria souza")
    punches = {p["employee"]: p["id"] for p in await angeloni.rows("punches")}
    (fixed,) = await angeloni.rows("punch_corrections")
    assert (fixed["punch"], fixed["instead"]) == (punches["João Silva"], punches["Maria Souza"])
    await hear(angeloni, "cancelar o ponto da maria souza")
    told = await hear(angeloni, "quantas horas maria souza fez hoje")
    assert told["show"] == "Maria Souza não tem ponto hoje."


async def test_a_sale_of_three_lines_is_heard_as_a_whole(angeloni: Shop) -> None:
    await hear(angeloni, "vendi dois leite integral um café torrado e três arroz branco")
    (sale,) = await angeloni.rows("sales")
    assert [item["quantity_milli"] for item in sale["items"]] == [2_000, 1_000, 3_000]
    assert sale["total_cents"] == 11_058


async def test_a_new_colleague_is_heard_by_name_within_a_second(angeloni: Shop) -> None:
    wav = as_wav(await said("saída da betânia às dezoito horas"))
    await angeloni.put(Person(name="Betânia Rocha"))
    async with asyncio.timeout(DONE_WITHIN_S):
        while "betânia" not in str(angeloni.voice.words):
            await asyncio.sleep(0.05)
    report = await angeloni.voice.hear_wav(wav, door="wav")
    assert "betânia" in report["heard"]


async def test_nothing_is_recorded_of_what_is_not_speech(angeloni: Shop) -> None:
    noise = np.random.default_rng(1).normal(0, 900, 32_000).astype(np.int16)
    for data, code in [
        (b"", "audio.empty"),
        (b"not audio at all", "audio.not_wav"),
        (as_wav(np.zeros(16_000, np.int16)), "audio.silent"),
        (as_wav(noise), ""),
        (as_wav(np.tile(np.array([32_767] * 40 + [-32_768] * 40, np.int16), 400)), "audio.clipped"),
    ]:
        report = await angeloni.voice.hear_wav(data, door="wav")
        assert report["show"], code
        assert not report["ok"]
        assert not code or report["code"] == code
    for collection in ("punches", "sales", "stock_movements", "customer_requests", "alerts"):
        assert await angeloni.rows(collection) == []


async def test_speech_of_another_language_does_nothing(angeloni: Shop) -> None:
    from beira.apps.voice.engines.espeak import Espeak
    from beira.apps.voice.engines.sound import resampled

    speaker = Espeak()
    sounds = [s async for s in speaker.speak("Could you tell me where the station is?", "en")]
    await speaker.close()
    pcm = np.frombuffer(b"".join(s.pcm for s in sounds), "<i2")
    tail = np.zeros(16_000, np.int16)
    heard = np.concatenate([resampled(pcm, sounds[0].rate_hz, 16_000), tail])
    report = await angeloni.voice.hear_wav(as_wav(heard), door="wav")
    assert report["show"]
    for collection in ("punches", "sales", "stock_movements", "alerts"):
        assert await angeloni.rows(collection) == []


async def test_audio_is_kept_only_while_the_tenant_wants_it(angeloni: Shop, tmp_path: Path) -> None:
    wav = as_wav(await said("que horas são"))
    await angeloni.voice.hear_wav(wav, door="wav")
    kept = tmp_path / "voice" / "audio"
    assert not list(kept.glob("*"))
    for keep in (True, False):
        await angeloni.put(Setting(id="voice@tenant", app="voice", values={"keep_audio": keep}))
        async with asyncio.timeout(DONE_WITHIN_S):
            while angeloni.voice.choice.keep_audio != keep:
                await asyncio.sleep(0.02)
        if keep:
            report = await angeloni.voice.hear_wav(wav, door="wav")
            assert [p.stem for p in kept.glob("*.wav")] == [report["trace"]]
    async with asyncio.timeout(DONE_WITHIN_S):
        while list(kept.glob("*")):
            await asyncio.sleep(0.02)
