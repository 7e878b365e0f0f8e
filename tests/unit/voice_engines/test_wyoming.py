"""Wyoming both ways, against the protocol's own library as the other end."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.info import Describe, Info
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming.satellite import RunSatellite
from wyoming.server import AsyncEventHandler, AsyncServer
from wyoming.tts import Synthesize, SynthesizeVoice
from wyoming.wake import Detect, Detection

from beira.apps.voice.engines.espeak import Espeak
from beira.apps.voice.engines.ports import HEARD_HZ, NOTHING_YET, Pcm, Progress, Recognised, Sound
from beira.apps.voice.engines.wyoming_client import (
    WyomingSatellite,
    WyomingSpeechToText,
    WyomingTextToSpeech,
    WyomingWake,
)
from beira.apps.voice.engines.wyoming_server import WyomingService, serving
from beira.apps.voice.engines.wyoming_wire import Peer, checked_address, connected
from beira.sdk import BeiraError, Corrupt, Misconfigured, Unavailable

from .conftest import spoken

TONE = (8_000 * np.sin(np.arange(HEARD_HZ) / 5)).astype(np.int16)


class Measured:
    """An ear that reports how much it heard, so that what arrived can be told."""

    name = "measured"

    def __init__(self) -> None:
        self.languages: list[str] = []

    async def listen(self, language: str, *, asked: bool = True) -> MeasuredListening:
        self.languages.append(language)
        return MeasuredListening()


class MeasuredListening:
    def __init__(self) -> None:
        self.blocks: list[Pcm] = []

    async def feed(self, pcm: Pcm) -> Progress:
        self.blocks.append(pcm)
        return NOTHING_YET

    async def finish(self) -> Recognised:
        return Recognised(f"{sum(map(len, self.blocks))} amostras")

    async def close(self) -> None:
        self.blocks = []


@asynccontextmanager
async def node(espeak: Espeak, address: str = "tcp://127.0.0.1:0") -> AsyncIterator[str]:
    service = WyomingService(
        Measured(), espeak, wake=None, languages=("pt-BR", "en"), release="0.1"
    )
    async with serving(service, address) as used:
        yield used


@asynccontextmanager
async def theirs(uri: str) -> AsyncIterator[AsyncClient]:
    client = AsyncClient.from_uri(uri, connect_timeout=5, read_timeout=10)
    async with client:
        yield client


async def until(client: AsyncClient, kind: str) -> Event:
    while event := await client.read_event():
        if event.type == kind:
            return event
    raise AssertionError(f"no {kind}")


async def test_their_client_reads_what_this_node_offers(espeak: Espeak) -> None:
    async with node(espeak) as uri, theirs(uri) as client:
        await client.write_event(Describe().event())
        info = Info.from_event(await until(client, "info"))
    assert info.asr[0].models[0].languages == ["pt-BR", "en"]
    assert info.tts[0].voices[0].installed
    assert info.wake == []


async def test_their_client_is_transcribed(espeak: Espeak) -> None:
    async with node(espeak) as uri, theirs(uri) as client:
        for rate_hz in (16_000, 48_000):
            await client.write_event(Transcribe(language="pt").event())
            await client.write_event(AudioStart(rate=rate_hz, width=2, channels=1).event())
            chunk = AudioChunk(rate=rate_hz, width=2, channels=1, audio=TONE.tobytes())
            await client.write_event(chunk.event())
            await client.write_event(AudioStop().event())
            heard = Transcript.from_event(await until(client, "transcript"))
            count = int(heard.text.split()[0])
            assert abs(count - len(TONE) * HEARD_HZ // rate_hz) < 40
            assert heard.language == "pt-BR"


async def test_their_client_hears_this_voice(espeak: Espeak) -> None:
    async with node(espeak) as uri, theirs(uri) as client:
        ask = Synthesize("Bom dia.", voice=SynthesizeVoice(language="pt"))
        await client.write_event(ask.event())
        start = AudioStart.from_event(await until(client, "audio-start"))
        size = 0
        while (event := await client.read_event()) and not AudioStop.is_type(event.type):
            size += len(AudioChunk.from_event(event).audio)
    assert size / 2 / start.rate > 0.4


async def test_a_unix_socket_is_the_owners_alone(espeak: Espeak, tmp_path: Path) -> None:
    path = tmp_path / "voice.sock"
    async with node(espeak, f"unix://{path}") as uri:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with theirs(uri) as client:
            await client.write_event(Describe().event())
            assert (await until(client, "info")).data["tts"]
    assert not path.exists()


async def test_it_is_not_served_to_a_network_that_is_not_said_to_be_trusted(espeak: Espeak) -> None:
    with pytest.raises(Misconfigured) as refused:
        async with node(espeak, "tcp://0.0.0.0:0"):
            pass
    assert refused.value.code == "wyoming.open"


async def test_a_port_in_use_is_said_with_the_next_step(espeak: Espeak) -> None:
    async with node(espeak) as uri:
        with pytest.raises(Misconfigured) as refused:
            async with node(espeak, uri):
                pass
    assert refused.value.code == "wyoming.bind"
    assert refused.value.hint


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
        b'{"type": "synthesize", "data_length": -1}\n',
        b'{"type": 7}\n',
        b"x" * 100_000,
        b'{"type":"audio-start"}\n{"type":"audio-chunk","data":{"rate":1,"width":9,"channels":7}}\n',
        b'{"type": "synthesize", "data": {"text": 5}}\n\xff\xfe\n',
    ],
)
async def test_noise_ends_its_own_connection_and_nothing_else(espeak: Espeak, noise: bytes) -> None:
    async with node(espeak) as uri:
        _, place, port = checked_address(uri)
        reader, writer = await asyncio.open_connection(place, port)
        writer.write(noise)
        writer.write_eof()
        async with asyncio.timeout(10):
            await reader.read(-1)
        writer.close()
        async with theirs(uri) as client:
            await client.write_event(Describe().event())
            assert await until(client, "info")


class Service(AsyncEventHandler):
    """A service of theirs: hears how many samples came, speaks a tone, detects at once."""

    silent = False

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.size = 0
        self.detecting = False

    async def handle_event(self, event: Event) -> bool:
        if Detect.is_type(event.type):
            self.detecting = True
        elif AudioChunk.is_type(event.type):
            self.size += len(AudioChunk.from_event(event).audio) // 2
            if self.detecting and self.size > HEARD_HZ // 2:
                await self.write_event(Detection(name="aurora").event())
        elif AudioStop.is_type(event.type) and not self.silent:
            await self.write_event(Transcript(text=f" {self.size} amostras ").event())
        elif Synthesize.is_type(event.type):
            await self.write_event(AudioStart(rate=22_050, width=2, channels=1).event())
            for at in range(0, len(TONE), 4_000):
                piece = TONE[at : at + 4_000].tobytes()
                chunk = AudioChunk(rate=22_050, width=2, channels=1, audio=piece)
                await self.write_event(chunk.event())
            await self.write_event(AudioStop().event())
        return True


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[str]:
    uri = f"unix://{tmp_path}/theirs.sock"
    server = AsyncServer.from_uri(uri)
    await server.start(Service)
    yield uri
    await server.stop()


async def test_their_service_transcribes_for_us(service: str) -> None:
    listening = await WyomingSpeechToText(service).listen("pt-BR")
    for at in range(0, len(TONE), 640):
        await listening.feed(TONE[at : at + 640])
    heard = await listening.finish()
    assert heard.text == f"{len(TONE)} amostras"
    assert heard.confidence is None


async def test_their_service_speaks_for_us(service: str) -> None:
    assert await spoken(WyomingTextToSpeech(service), "Oi") == (22_050, TONE.tobytes())


async def test_their_service_hears_the_wake_word_for_us(service: str) -> None:
    wake = WyomingWake(service, ("aurora",))
    heard = 0
    async with asyncio.timeout(20):
        while not await wake.feed(TONE[:1_600]):
            heard += 1
            await asyncio.sleep(0)
    assert heard >= 4
    await wake.close()


async def test_a_service_that_gives_no_words_is_late_and_not_waited_for(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Service, "silent", True)
    monkeypatch.setattr("beira.apps.voice.engines.wyoming_client.TRANSCRIPT_TIMEOUT_S", 0.2)
    listening = await WyomingSpeechToText(service).listen("pt-BR")
    await listening.feed(TONE)
    with pytest.raises(Unavailable) as late:
        await listening.finish()
    assert late.value.code == "wyoming.timeout"


async def test_a_service_that_is_not_there_is_away() -> None:
    with pytest.raises(Unavailable) as away:
        await WyomingSpeechToText("tcp://127.0.0.1:1").listen("pt-BR")
    assert away.value.code == "wyoming.away"
    assert away.value.hint


@pytest.mark.parametrize("address", ["", "10300", "http://x:1", "tcp://x", "unix://x", "tcp://[:1"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(BeiraError) as refused:
        checked_address(address)
    assert refused.value.code == "wyoming.address"


async def test_a_satellite_is_heard_and_spoken_to(tmp_path: Path) -> None:
    """A satellite is a server that a hub connects to; this one is written with their library."""
    played: list[Event] = []
    done = asyncio.Event()

    async def satellite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await async_read_event(reader)
        assert first is not None and RunSatellite.is_type(first.type)
        run = RunPipeline(PipelineStage.ASR, PipelineStage.TTS)
        await async_write_event(run.event(), writer)
        chunk = AudioChunk(rate=16_000, width=2, channels=1, audio=TONE.tobytes())
        await async_write_event(chunk.event(), writer)
        while event := await async_read_event(reader):
            played.append(event)
            if AudioStop.is_type(event.type):
                break
        done.set()
        writer.close()

    server = await asyncio.start_unix_server(satellite, str(tmp_path / "s.sock"))
    ours = WyomingSatellite(f"unix://{tmp_path}/s.sock")
    async for pcm in ours.frames():
        assert np.array_equal(pcm, TONE)
        assert ours.taken_call()
        await ours.tell({"type": "heard", "text": "que horas são"})
        await ours.play(Sound(22_050, TONE.tobytes()))
        await ours.finish()
        async with asyncio.timeout(5):
            await done.wait()
    kinds = [event.type for event in played]
    assert kinds == ["transcript", "audio-start", "audio-chunk", "audio-stop"]
    assert played[2].payload == TONE.tobytes()
    server.close()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
async def test_no_bytes_whatever_do_more_than_end_a_connection(noise: bytes) -> None:
    reader = asyncio.StreamReader(limit=65_536)
    reader.feed_data(noise)
    reader.feed_eof()
    peer = Peer(reader, None)  # type: ignore[arg-type]  # only read from
    try:
        while await peer.read(1):
            pass
    except Corrupt as error:
        assert error.code == "wyoming.corrupt"


async def test_our_two_ends_understand_each_other(espeak: Espeak) -> None:
    async with node(espeak) as uri:
        rate_hz, pcm = await spoken(WyomingTextToSpeech(uri), "Bom dia.")
        assert len(pcm) / 2 / rate_hz > 0.4
        async with connected(uri) as peer:
            await peer.write("ping", {"text": "a"})
            answer = await peer.read()
            assert answer is not None and answer.type == "pong"


async def test_what_is_written_goes_out_at_once(espeak: Espeak) -> None:
    """Without TCP_NODELAY an event in two parts waits for the peer's acknowledgement."""
    taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Looking(WyomingService):
        async def serve_one(
            self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            its = writer.get_extra_info("socket")
            taken.set_result(its.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

    service = Looking(Measured(), espeak, wake=None, languages=("pt-BR",), release="0.1")
    async with serving(service, "tcp://127.0.0.1:0") as address:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        assert await asyncio.wait_for(taken, 30) != 0
        writer.close()
