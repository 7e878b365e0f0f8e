"""What of the voice is there, what is missing, and how to get it: for `beira node doctor`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

import msgspec

from beira.apps.voice.engines.choice import EngineChoice
from beira.apps.voice.engines.devices import chosen
from beira.apps.voice.engines.espeak import Espeak
from beira.apps.voice.engines.language_model import LanguageModel
from beira.apps.voice.engines.piper import checked_voice
from beira.apps.voice.engines.whisper import checked_model
from beira.apps.voice.engines.wyoming_wire import connected
from beira.apps.voice.recogniser.acoustic import AcousticModel
from beira.sdk import BeiraError, Invalid, Misconfigured, Unavailable

MODEL = Path(__file__).with_name("model")
CHOICE_FILE = "engines.json"
CHECK_TIMEOUT_S = 40.0


class Finding(msgspec.Struct, kw_only=True, frozen=True):
    """One thing looked at. `next_step` is empty when there is nothing to do."""

    name: str
    ok: bool
    what: str
    next_step: str = ""


Check = Callable[[EngineChoice], Awaitable[Finding]]


async def diagnose(node: Path | msgspec.Struct) -> list[Finding]:
    """Try each part as it is chosen, side by side: by settings, or by what was last in force on the
    node whose folder is given. Nothing is changed or recorded."""
    choice = (
        await asyncio.to_thread(_last, node) if isinstance(node, Path) else EngineChoice.of(node)
    )
    return list(await asyncio.gather(*(_tried(name, check, choice) for name, check in _CHECKS)))


def _last(folder: Path) -> EngineChoice:
    try:
        return msgspec.json.decode((folder / "voice" / CHOICE_FILE).read_bytes(), type=EngineChoice)
    except (OSError, msgspec.MsgspecError):
        return EngineChoice()


async def _tried(name: str, check: Check, choice: EngineChoice) -> Finding:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check(choice)
    except BeiraError as error:
        return Finding(name=name, ok=False, what=error.message, next_step=error.hint)
    except TimeoutError:
        return Finding(
            name=name,
            ok=False,
            what=f"It gave no answer in {CHECK_TIMEOUT_S:.0f} s.",
            next_step="Is the machine overloaded? Try again.",
        )
    except Exception as error:
        return Finding(
            name=name,
            ok=False,
            what=f"{type(error).__name__}: {error}",
            next_step="Reinstall it: pip install --force-reinstall 'beira[voice]'.",
        )


async def _packages(_choice: EngineChoice) -> Finding:
    needed = ("numpy", "hassil", "webrtcvad", "pocketsphinx", "espeakng_loader")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise Misconfigured(
            f"Not installed: {', '.join(missing)}.", hint="pip install 'beira[voice]'"
        )
    return Finding(name="packages", ok=True, what="All packages of the voice are installed.")


async def _recogniser(_choice: EngineChoice) -> Finding:
    began = time.monotonic()
    model = await asyncio.to_thread(AcousticModel, MODEL)
    took_ms = (time.monotonic() - began) * 1000
    what = f"Its model, of {len(model.meta['phones'])} sounds, was loaded in {took_ms:.0f} ms."
    return Finding(name="recogniser", ok=True, what=what)


async def _espeak(choice: EngineChoice) -> Finding:
    espeak = Espeak()
    began = time.monotonic()
    try:
        spoken = [sound async for sound in espeak.speak("Tudo pronto.", choice.language)]
    finally:
        await espeak.close()
    took_ms = (time.monotonic() - began) * 1000
    lasts_s = sum(len(s.pcm) for s in spoken) / 2 / spoken[0].rate_hz
    what = f"espeak-ng spoke {lasts_s:.1f} s in {took_ms:.0f} ms, its start included."
    return Finding(name="voice", ok=True, what=what)


async def _speech_to_text(choice: EngineChoice) -> Finding:
    name = "speech to text"
    if choice.speech_to_text == "whisper":
        path = checked_model(choice.whisper_model)
        return Finding(name=name, ok=True, what=f"faster-whisper with {path}.")
    if choice.speech_to_text == "wyoming":
        return Finding(name=name, ok=True, what=await _described(choice.wyoming_stt, "asr"))
    return Finding(name=name, ok=True, what="The built-in recogniser.")


async def _text_to_speech(choice: EngineChoice) -> Finding:
    name = "text to speech"
    if choice.text_to_speech == "piper":
        return Finding(name=name, ok=True, what=f"Piper with {checked_voice(choice.piper_voice)}.")
    if choice.text_to_speech == "wyoming":
        return Finding(name=name, ok=True, what=await _described(choice.wyoming_tts, "tts"))
    return Finding(name=name, ok=True, what="The built-in voice, espeak-ng.")


async def _wake(choice: EngineChoice) -> Finding:
    if choice.wake == "off":
        return Finding(name="wake word", ok=True, what="Off: people push a button to talk.")
    if choice.wake == "wyoming":
        return Finding(
            name="wake word", ok=True, what=await _described(choice.wyoming_wake, "wake")
        )
    return Finding(name="wake word", ok=True, what="A command that begins with “Aurora”.")


async def _sound_card(choice: EngineChoice) -> Finding:
    if not choice.microphone:
        return Finding(name="sound card", ok=True, what="Off: the browser's microphone is used.")
    microphone = await asyncio.to_thread(chosen, "input", choice.microphone_name)
    speaker = await asyncio.to_thread(chosen, "output", choice.speaker_name)
    what = f"Microphone {microphone['name']}; speaker {speaker['name']}."
    return Finding(name="sound card", ok=True, what=what)


async def _questions(choice: EngineChoice) -> Finding:
    if choice.questions == "off":
        return Finding(name="open questions", ok=True, what="Off: answered with what can be said.")
    model = LanguageModel(
        choice.questions_url,
        kind=choice.questions,
        model=choice.questions_model,
        deadline_s=choice.questions_deadline_s,
    )
    began = time.monotonic()
    try:
        answer = await model.ask("Que dia vem depois de segunda-feira?", choice.language)
    except Unavailable as error:
        hint = error.hint or "Choose a smaller model, or raise questions_deadline_s."
        raise Unavailable(error.message, hint=hint) from error
    took_s = time.monotonic() - began
    return Finding(
        name="open questions", ok=True, what=f"Answered in {took_s:.1f} s: {answer[:60]}"
    )


async def _described(address: str, part: str) -> str:
    """What a Wyoming service says of itself. Raises Invalid if it cannot do `part`."""
    async with connected(address) as peer:
        await peer.write("describe")
        while event := await peer.read():
            if event.type == "info":
                programs = event.data.get(part) or []
                if not programs:
                    raise Invalid(
                        f"The Wyoming service at {address} offers no {part}.",
                        hint="Give the address of one that does.",
                    )
                return f"Wyoming at {address}: {programs[0].get('name', '?')}."
    raise Unavailable(f"{address} hung up.", hint="Is it a Wyoming service?")


_CHECKS: tuple[tuple[str, Check], ...] = (
    ("packages", _packages),
    ("recogniser", _recogniser),
    ("voice", _espeak),
    ("speech to text", _speech_to_text),
    ("text to speech", _text_to_speech),
    ("wake word", _wake),
    ("sound card", _sound_card),
    ("open questions", _questions),
)
