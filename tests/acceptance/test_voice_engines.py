"""A node whose settings choose other engines: what happens when they are there, late, or away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.pipeline import PipelineStage, RunPipeline

from beira.apps.voice.doctor import diagnose
from beira.apps.voice.settings import VoiceSettings
from tests.unit.voice_engines.shop import Shop, as_wav, said, shop

WAIT_S = 60


@asynccontextmanager
async def language_model(answer: str, wait_s: float) -> AsyncIterator[tuple[str, list[str]]]:
    asked: list[str] = []

    async def chat(request: web.Request) -> web.Response:
        asked.append((await request.json())["messages"][-1]["content"])
        await asyncio.sleep(wait_s)
        return web.json_response({"choices": [{"message": {"content": answer}}]})

    site = web.Application()
    site.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


@asynccontextmanager
async def asking(tmp_path: Path, url: str, deadline_s: float) -> AsyncIterator[Shop]:
    settings = {"questions": "openai", "questions_url": url, "questions_deadline_s": deadline_s}
    async with shop(tmp_path, settings=settings) as made:
        yield made


async def test_an_open_question_is_answered_by_the_shops_own_model(tmp_path: Path) -> None:
    async with (
        language_model("O Brasil tem 27 unidades federativas.", 0) as (url, asked),
        asking(tmp_path, url, 5) as made,
    ):
        report = await made.voice.say("quantos estados tem o Brasil inteiro", door="text")
        assert report["show"] == "O Brasil tem 27 unidades federativas."
        await made.voice.say("quanto custa o leite integral", door="text")
        assert asked == ["quantos estados tem o Brasil inteiro"]
        (talk,) = [t for t in await made.rows("interactions") if "estados" in t["text"]]
        assert talk["answer"] == "O Brasil tem 27 unidades federativas."


async def test_after_the_deadline_auroras_own_answer_is_given(tmp_path: Path) -> None:
    async with (
        language_model("tarde demais", 20) as (url, asked),
        asking(tmp_path, url, 0.5) as made,
    ):
        report = await made.voice.say("quantos estados tem o Brasil inteiro", door="text")
        assert asked
        assert report["show"] and "tarde" not in report["show"]
        assert not report["understood"]


async def test_a_service_that_is_away_is_replaced_by_the_built_in_ear_and_voice(
    tmp_path: Path,
) -> None:
    settings = {
        "speech_to_text": "wyoming", "wyoming_stt": "tcp://127.0.0.1:1",
        "text_to_speech": "wyoming", "wyoming_tts": "tcp://127.0.0.1:1",
    }  # fmt: skip
    async with shop(tmp_path, settings=settings) as made:
        report = await made.voice.hear_wav(
            as_wav(await said("quanto custa o café torrado")), door="wav"
        )
        assert "café torrado" in report["heard"]
        assert report["timings"]["first_sound"] > 0


async def test_settings_that_cannot_be_had_are_said_and_do_not_silence_the_shop(
    tmp_path: Path,
) -> None:
    settings = {"speech_to_text": "whisper", "whisper_model": "/nowhere", "text_to_speech": "piper"}
    async with shop(tmp_path, settings=settings) as made:
        assert made.voice.engines is not None
        codes = {problem.code for problem in made.voice.engines.problems}
        assert codes <= {"stt.model_missing", "tts.model_missing", "extra.missing"} and codes
        assert (await made.voice.say("que horas são", door="text"))["ok"]
        findings = {f.name: f for f in await diagnose(tmp_path)}
    assert not findings["speech to text"].ok and findings["speech to text"].next_step
    assert not findings["text to speech"].ok
    assert findings["voice"].ok and findings["recogniser"].ok and findings["packages"].ok


async def test_the_doctor_says_what_to_do_about_each_thing_chosen() -> None:
    chosen = VoiceSettings(
        microphone=True, microphone_name="nenhum assim", wake="wyoming", questions="ollama",
        wyoming_wake="tcp://127.0.0.1:1", questions_url="http://127.0.0.1:1",
    )  # fmt: skip
    findings = {f.name: f for f in await diagnose(chosen)}
    for name in ("sound card", "wake word", "open questions"):
        assert not findings[name].ok, name
        assert findings[name].next_step, name
    healthy = {f.name: f for f in await diagnose(VoiceSettings())}
    assert all(f.ok for f in healthy.values()), healthy


async def test_home_assistant_hears_through_the_node(tmp_path: Path) -> None:
    path = tmp_path / "wyoming.sock"
    async with shop(tmp_path, settings={"wyoming_serve": f"unix://{path}"}):
        async with asyncio.timeout(WAIT_S):
            while not path.exists():
                await asyncio.sleep(0.05)
        pcm = await said("quanto custa o café torrado")
        async with AsyncClient.from_uri(f"unix://{path}", read_timeout=WAIT_S) as client:
            await client.write_event(Transcribe(language="pt").event())
            await client.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
            for at in range(0, len(pcm), 1_600):
                chunk = pcm[at : at + 1_600].astype("<i2").tobytes()
                await client.write_event(AudioChunk(16_000, 2, 1, chunk).event())
            await client.write_event(AudioStop().event())
            event = await client.read_event()
    assert event is not None
    assert "café torrado" in Transcript.from_event(event).text


async def test_a_satellite_in_the_stockroom_is_answered(tmp_path: Path) -> None:
    heard: list[Event] = []
    done = asyncio.Event()
    pcm = await said("quanto custa o café torrado")

    async def satellite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await async_read_event(reader)
        run = RunPipeline(PipelineStage.ASR, PipelineStage.TTS)
        await async_write_event(run.event(), writer)
        for at in range(0, len(pcm), 1_600):
            chunk = AudioChunk(16_000, 2, 1, pcm[at : at + 1_600].astype("<i2").tobytes())
            await async_write_event(chunk.event(), writer)
        while event := await async_read_event(reader):
            heard.append(event)
            if AudioStop.is_type(event.type):
                done.set()
        writer.close()

    path = tmp_path / "satellite.sock"
    server = await asyncio.start_unix_server(satellite, str(path))
    async with shop(tmp_path, settings={"satellite": f"unix://{path}"}) as made:
        async with asyncio.timeout(WAIT_S):
            await done.wait()
        async with asyncio.timeout(WAIT_S):
            while not (talks := await made.rows("interactions")):
                await asyncio.sleep(0.05)
    server.close()
    assert heard[0].type == "transcript" and "café" in heard[0].data["text"]
    assert [e.type for e in heard[1:3]] == ["audio-start", "audio-chunk"]
    assert talks[0]["door"] == "satellite"


@pytest.mark.parametrize("serve", ["tcp://0.0.0.0:0", "nonsense"])
async def test_an_address_that_must_not_be_served_costs_that_door_only(
    tmp_path: Path, serve: str
) -> None:
    async with shop(tmp_path, settings={"wyoming_serve": serve}) as made:
        assert (await made.voice.say("que horas são", door="text"))["ok"]
