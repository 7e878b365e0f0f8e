"""The voice on a node: its engines, kept fitting to the settings and to the tenant's own words.

`edge(host)` is what the node program runs. The node serves its pages at once; the recogniser loads
beside it. When people, products or settings change, whoever is speaking is heard to the end with
the old words, and the next sentence is heard with the new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import structlog

from beira.apps.voice.engines.browser import Mute
from beira.apps.voice.engines.built_in import BuiltIn
from beira.apps.voice.engines.choice import EngineChoice, Engines, make
from beira.apps.voice.engines.devices import Microphone, Speaker
from beira.apps.voice.engines.enrolment import Enrolment, Gain, learn
from beira.apps.voice.engines.espeak import Espeak
from beira.apps.voice.engines.kept import KeptAudio
from beira.apps.voice.engines.listener import BuiltInWake, Listener
from beira.apps.voice.engines.memory import give_back
from beira.apps.voice.engines.mind import AssistantMind
from beira.apps.voice.engines.phrases import fixed_prompts
from beira.apps.voice.engines.ports import AudioOut, Pcm, Wake
from beira.apps.voice.engines.sound import WavIn, write_wav
from beira.apps.voice.engines.vocabulary import Words, known, recogniser_for
from beira.apps.voice.engines.wyoming_client import SatelliteWake, WyomingSatellite
from beira.apps.voice.engines.wyoming_server import WyomingService, serving
from beira.apps.voice.pipeline import Conversation, Hearing, Mind, Tell
from beira.apps.voice.recogniser.adapt import save
from beira.apps.voice.sentences import stamp
from beira.sdk import BeiraError, Host, News, Unavailable

log = structlog.get_logger(__name__)
FOLLOWED = frozenset({"people", "products", "settings", "sentences"})
SETTLE_S = 0.15
LOOK_EVERY_S = 3.0
RETRY_S = 5.0
START_WAIT_S = 15.0
SESSIONS = 64
SESSION_S = 300.0
CHOICE_FILE = "engines.json"
VOICE_FILE = "voice.npz"


@dataclass
class _Session:
    mind: Mind
    used_at: float


class VoiceEdge:
    """All of the voice on one node. `ready` once it can hear."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.folder = folder_of(host)
        self.ready = asyncio.Event()
        self.engines: Engines | None = None
        self.built_in: BuiltIn | None = None
        self.problem: BeiraError | None = None
        self._espeak = Espeak()
        self.words: Words | None = None
        self._stale = asyncio.Event()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._doors: set[asyncio.Task[None]] = set()

    @property
    def choice(self) -> EngineChoice:
        return self.engines.choice if self.engines else EngineChoice()

    def conversation(
        self, *, out: AudioOut, tell: Tell, door: str, language: str = "", session: str = ""
    ) -> Conversation:
        """A conversation at a door. The same `session` goes on where it was left, for five minutes.

        Raises: Unavailable `voice.starting` until the engines are there.
        """
        engines = self._there()
        language = language or engines.choice.language
        mind = self._mind(session, language) if session else self._new_mind(language)
        audio = KeptAudio(self.folder / "audio", self.host.private)
        kept = audio.keep if engines.choice.keep_audio else None
        return Conversation(
            hearing=Hearing(engines.speech_to_text, engines.spare, kept),
            speaking=engines.speaking,
            mind=mind,
            out=out,
            tell=tell,
            new_id=self.host.wall.new_id,
            door=door,
            language=language,
        )

    async def say(
        self, text: str, *, door: str, language: str = "", session: str = ""
    ) -> dict[str, Any]:
        """Answer what was written; see `report`."""
        await self._started()
        report, tell = _report()
        talk = self.conversation(
            out=Mute(), tell=tell, door=door, language=language, session=session
        )
        await talk.typed(text)
        return report

    async def hear_wav(
        self, data: bytes, *, door: str, language: str = "", session: str = ""
    ) -> dict[str, Any]:
        """Hear a WAV file and answer. What cannot be heard is a report that is not ok.

        The report has `heard`, `show` (the answer), `understood`, `ok`, `choices` (a yes or no is
        waited for), `code`, `timings`, `trace`."""
        await self._started()
        report, tell = _report()
        talk = self.conversation(
            out=Mute(), tell=tell, door=door, language=language, session=session
        )
        try:
            source = await asyncio.to_thread(WavIn, data)
        except BeiraError as error:
            await talk.tell_trouble(error)
            return report
        await talk.listen(source.frames())
        return report

    async def spoken(self, text: str, language: str) -> bytes:
        """A WAV file of a text, for whoever has something to say: `host.speech`."""
        await self._started()
        said = [sound async for sound in self._there().speaking.speak(text, language)]
        if not said:
            raise Unavailable("The voice said nothing.", code="voice.silent")
        return write_wav(b"".join(sound.pcm for sound in said), said[0].rate_hz)

    def heard_language(self, wanted: str) -> str:
        """The language speech is heard in: the built-in ear knows only the one of the settings."""
        engines = self._there()
        return engines.choice.language if engines.speech_to_text is self.built_in else wanted

    def enrolment(self) -> Enrolment:
        """Somebody is about to read ten phrases. Raises Unavailable `voice.starting`."""
        self._there()
        assert self.words is not None
        return Enrolment(self, self.words.people, self.words.products)

    async def learn_voice(self, read: Sequence[tuple[str, Pcm]]) -> Gain:
        """Fit the built-in recogniser to a reader, if that helps, from the next sentence on."""
        assert self.built_in is not None
        recogniser, worker = self.built_in.recogniser, self.built_in.worker
        cache = self.folder / "pronunciations.json"
        found, gain = await asyncio.get_running_loop().run_in_executor(
            worker, learn, recogniser, list(read), cache, self.host.private
        )
        log.info("voice.enrolled", before=gain.before, after=gain.after, kept=found is not None)
        if found is not None:
            recogniser.adaptation = found
            await asyncio.to_thread(save, found, self.folder / VOICE_FILE, self.host.private)
        return gain

    async def forget_voice(self) -> None:
        """Hear everybody alike again."""
        if self.built_in is not None:
            self.built_in.recogniser.adaptation = None
        await asyncio.to_thread((self.folder / VOICE_FILE).unlink, missing_ok=True)

    async def run(self) -> None:
        """Keep the engines fitting until cancelled."""
        stop = self.host.store.subscribe(self._news)
        self._stale.set()
        try:
            while True:
                await self._outdated()
                await asyncio.sleep(SETTLE_S)
                self._stale.clear()
                await self._refresh()
        finally:
            stop()
            await self._close()

    async def _outdated(self) -> None:
        """Wait until records, settings or the shop's own file of sentences are others."""
        while not self._stale.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._stale.wait()
            words = self.words
            if words is not None and stamp(words.extra) != words.extra_stamp:
                return

    async def _started(self) -> None:
        """Wait for a voice that is still starting, but not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_WAIT_S):
                await self.ready.wait()

    def _there(self) -> Engines:
        if self.engines is None:
            why = f": {self.problem.message}" if self.problem else ""
            raise Unavailable(
                f"The voice is still starting{why}", code="voice.starting", hint="Try again soon."
            )
        return self.engines

    def _mind(self, session: str, language: str) -> Mind:
        now = time.monotonic()
        found = self._sessions.pop(session, None)
        if found is None or now - found.used_at > SESSION_S:
            found = _Session(self._new_mind(language), now)
        found.used_at = now
        self._sessions[session] = found
        if len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return found.mind

    def _new_mind(self, language: str) -> Mind:
        return AssistantMind(self.host, language, self._there().questions)

    def _news(self, news: News) -> None:
        if any(collection in FOLLOWED for collection, _, _ in news.rows):
            self._stale.set()

    async def _refresh(self) -> None:
        try:
            await self._fit()
            self.problem = None
        except BeiraError as error:
            self.problem = error
            log.warning("voice.not_ready", code=error.code, why=error.message, hint=error.hint)
            asyncio.get_running_loop().call_later(RETRY_S, self._stale.set)
        except Exception:
            log.exception("voice.refresh_failed")
            asyncio.get_running_loop().call_later(RETRY_S, self._stale.set)

    async def _fit(self) -> None:
        words, choice = await known(self.host)
        loop = asyncio.get_running_loop()
        if self.built_in is None:
            recogniser = await asyncio.to_thread(
                recogniser_for, words, self.folder, self.host.private
            )
            self.built_in = BuiltIn(recogniser)
        elif words != self.words:
            began = time.monotonic()
            await loop.run_in_executor(
                self.built_in.worker, self.built_in.recogniser.set_grammar, words.grammar()
            )
            log.info("voice.words_changed", took_ms=round((time.monotonic() - began) * 1000, 1))
        if words != self.words:
            await loop.run_in_executor(self.built_in.worker, give_back)
        self.words = words
        if self.engines is None or choice != self.engines.choice:
            await self._choose(choice)

    async def _choose(self, choice: EngineChoice) -> None:
        assert self.built_in is not None
        before = self.engines
        self.engines = make(
            choice,
            built_in=self.built_in,
            espeak=self._espeak,
            cache=self.folder / "speech",
            files=self.host.private,
        )
        self._sessions.clear()
        await asyncio.to_thread(self._note_choice, choice)
        await self._espeak.start()
        self.ready.set()
        log.info("voice.ready", hears=self.engines.speech_to_text.name)
        await self._stop_doors()
        if before is not None:
            await before.close()
        if before is not None and before.choice.keep_audio and not choice.keep_audio:
            await asyncio.to_thread(KeptAudio(self.folder / "audio").clear)
        self._open_doors(choice)
        await self.engines.speaking.warm(fixed_prompts(choice.language), choice.language)

    def _note_choice(self, choice: EngineChoice) -> None:
        """Leave word of the engines in force for `beira node doctor`."""
        with contextlib.suppress(OSError):
            (self.folder / CHOICE_FILE).write_bytes(msgspec.json.encode(choice))

    def _open_doors(self, choice: EngineChoice) -> None:
        if choice.microphone:
            self._door(self._microphone)
        if choice.satellite:
            self._door(self._satellite)
        if choice.wyoming_serve:
            self._door(self._serve_wyoming)

    def _door(self, run: Callable[[], Any]) -> None:
        task = asyncio.create_task(_forever(run))
        self._doors.add(task)
        task.add_done_callback(self._doors.discard)

    async def _stop_doors(self) -> None:
        doors = list(self._doors)
        for task in doors:
            task.cancel()
        await asyncio.gather(*doors, return_exceptions=True)

    async def _serve_wyoming(self) -> None:
        engines = self._there()
        service = WyomingService(
            engines.speech_to_text,
            engines.speaking,
            wake=self._wake,
            languages=(engines.choice.language,),
            release=_release(),
        )
        trusted = engines.choice.wyoming_trusted_network
        async with serving(service, engines.choice.wyoming_serve, trusted_network=trusted) as used:
            log.info("wyoming.serving", address=used)
            await asyncio.Event().wait()

    async def _microphone(self) -> None:
        choice = self._there().choice
        talk = self.conversation(
            out=Speaker(choice.speaker_name), tell=_untold, door="microphone", session="microphone"
        )
        await Listener(talk, Microphone(choice.microphone_name), self._wake()).run()

    async def _satellite(self) -> None:
        satellite = WyomingSatellite(self._there().choice.satellite)
        talk = self.conversation(
            out=satellite, tell=satellite.tell, door="satellite", session="satellite"
        )
        await Listener(talk, satellite, SatelliteWake(satellite, self._wake())).run()

    def _wake(self) -> Wake:
        """The wake service chosen, or the built-in ear."""
        assert self.built_in is not None
        return self._there().wake() or BuiltInWake(self.built_in)

    async def _close(self) -> None:
        await self._stop_doors()
        if self.engines is not None:
            await self.engines.close()
        if self.built_in is not None:
            self.built_in.close()
        await self._espeak.close()


def _release() -> str:
    try:
        return version("beira")
    except PackageNotFoundError:
        return "0"


def folder_of(host: Host) -> Path:
    """Where a node's voice keeps its files: beside its database, or in the cache where it has none."""
    database = getattr(host.store, "path", None)
    if database is not None:
        return Path(database).parent / "voice"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "beira" / f"{host.place.tenant}-{host.place.node}" / "voice"


_EDGES: WeakKeyDictionary[Host, VoiceEdge] = WeakKeyDictionary()


@asynccontextmanager
async def edge(host: Host) -> AsyncIterator[VoiceEdge]:
    """Run the voice on a node while the context lasts; pages find it by `edge_of`."""
    voice = VoiceEdge(host)
    _EDGES[host] = voice
    host.speech = voice.spoken
    task = asyncio.create_task(voice.run())
    try:
        yield voice
    finally:
        _EDGES.pop(host, None)
        host.speech = None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def edge_of(host: Host) -> VoiceEdge:
    """The voice that runs on this host. Raises Unavailable where none does."""
    try:
        return _EDGES[host]
    except KeyError:
        raise Unavailable(
            "The voice does not run here.", code="voice.absent", hint="Open a node's page."
        ) from None


def _report() -> tuple[dict[str, Any], Tell]:
    """A report and the ear that fills it from a turn's events."""
    report: dict[str, Any] = {
        "heard": "", "show": "", "understood": False, "ok": False, "choices": False, "code": "",
    }  # fmt: skip

    async def tell(event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "heard":
            report["heard"] = event["text"]
        elif kind == "answer":
            report["show"] = event["text"]
            report.update({k: event[k] for k in ("understood", "ok", "choices")})
        elif kind == "trouble":
            report.update(show=event["text"], code=event["code"], ok=False)
        elif kind == "timings":
            report["timings"] = event["ms"]
        report["trace"] = event.get("trace", report.get("trace", ""))

    return report, tell


async def _untold(_event: dict[str, Any]) -> None:
    """Nobody watches."""


async def _forever(run: Callable[[], Any]) -> None:
    """A door that failed opens again."""
    while True:
        try:
            await run()
        except BeiraError as error:
            log.warning("voice.door_failed", code=error.code, why=error.message, hint=error.hint)
        except Exception:
            log.exception("voice.door_failed")
        await asyncio.sleep(RETRY_S)
