"""What Aurora says when she could not hear: what went wrong, and what to do about it."""

from __future__ import annotations

from beira.sdk import BeiraError

_PHRASES: dict[str, tuple[str, str]] = {
    "empty": (
        "Não ouvi nada. Segure o botão enquanto fala.",
        "I heard nothing. Hold the button while you speak.",
    ),
    "silent": (
        "O microfone está mudo. Veja se ele está ligado e escolhido.",
        "The microphone is silent. Check that it is on and chosen.",
    ),
    "long": (
        "Ficou comprido demais. Diga uma coisa de cada vez.",
        "That was too long. Say one thing at a time.",
    ),
    "clipped": (
        "O som chegou estourado. Fale um pouco mais longe do microfone.",
        "The sound is distorted. Speak a little farther from the microphone.",
    ),
    "not_audio": (
        "Isso não é uma gravação que eu consiga ouvir. Envie um arquivo WAV.",
        "That is not a recording I can hear. Send a WAV file.",
    ),
    "unclear": (
        "Não entendi. Pode repetir? Se preferir, escreva.",
        "I did not understand. Could you repeat? You may also type.",
    ),
    "busy": (
        "Estou sobrecarregada. Tente de novo em instantes.",
        "I am overloaded. Try again in a moment.",
    ),
    "starting": (
        "Ainda estou ligando. Tente de novo em alguns segundos.",
        "I am still starting. Try again in a few seconds.",
    ),
    "engine": (
        "Não consegui ouvir agora. Por favor, escreva, ou tente de novo.",
        "I could not listen just now. Please type, or try again.",
    ),
    "full": (
        "Não consegui gravar: o disco está cheio. Nada foi registrado. Chame o responsável.",
        "I could not record it: the disk is full. Nothing was recorded. Call whoever is in charge.",
    ),
    "failed": (
        "Algo deu errado e nada foi registrado. Tente de novo.",
        "Something went wrong and nothing was recorded. Try again.",
    ),
}

_BY_CODE = {
    "audio.empty": "empty", "voice.audio_too_short": "empty",
    "audio.silent": "silent", "voice.audio_silent": "silent", "audio.device_silent": "silent",
    "audio.too_long": "long", "voice.audio_too_long": "long", "tts.too_long": "long",
    "audio.clipped": "clipped", "voice.audio_clipped": "clipped",
    "audio.not_wav": "not_audio", "audio.rate": "not_audio", "voice.bad_audio": "not_audio",
    "audio.no_speech": "empty", "audio.unclear": "unclear", "voice.starting": "starting",
    "audio.overload": "busy", "stt.late": "busy", "stt.failed": "engine", "full": "full",
    "wyoming.away": "engine", "wyoming.timeout": "engine", "wyoming.error": "engine",
}  # fmt: skip


def trouble(error: BaseException, language: str) -> tuple[str, str]:
    """(stable code, what to tell the person) for an error met while hearing or answering."""
    code = error.code if isinstance(error, BeiraError) else "internal"
    said = _PHRASES[_BY_CODE.get(code, "failed")]
    return code, said[1 if language.startswith("en") else 0]


def fixed_prompts(language: str) -> list[str]:
    """All of them, to have them spoken before they are needed."""
    return [said[1 if language.startswith("en") else 0] for said in _PHRASES.values()]
