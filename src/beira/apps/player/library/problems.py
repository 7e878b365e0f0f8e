"""Why an asset failed: a code, and what ffmpeg or we said of it. People are told in their language."""

from __future__ import annotations

from beira.sdk import BeiraError

_WORDS = {
    "player.undecodable": (
        "O arquivo não é um áudio que se possa decodificar.",
        "The file is no sound that can be decoded.",
    ),
    "player.cut_short": ("O arquivo termina antes do que diz.", "The file ends before it says."),
    "player.too_long": ("O áudio é longo demais.", "The sound is too long."),
    "player.too_short": ("O arquivo quase não tem áudio.", "The file has next to no sound."),
    "player.silent": ("O arquivo só tem silêncio.", "The file holds silence only."),
    "player.too_much": (
        "Ler este arquivo exige demais: ele pode estar malformado.",
        "Reading this file takes too much: it may be malformed.",
    ),
    "player.same_sound": (
        "O áudio é igual ao de outro arquivo da biblioteca.",
        "It sounds the same as another file of the library.",
    ),
    "player.encoding": ("A conversão não saiu certa.", "The conversion came out wrong."),
    "player.crashed": (
        "O trabalho caiu várias vezes com este arquivo.",
        "The work broke down several times over this file.",
    ),
    "player.ffmpeg": (
        "Falta o ffmpeg na nuvem: pip install 'beira[player]'.",
        "There is no ffmpeg in the cloud: pip install 'beira[player]'.",
    ),
    "player.fdkaac": (
        "HE-AAC v2 precisa do fdkaac na nuvem; ou use o perfil opus-64.",
        "HE-AAC v2 needs fdkaac in the cloud; or use the profile opus-64.",
    ),
}


def problem_of(error: BeiraError) -> str:
    """What is kept in `Asset.problem`."""
    return f"{error.code} {error.message}"[:500]


def told(problem: str, language: str) -> str:
    """What people are told of an `Asset.problem`: the reason, and the detail behind it."""
    code, _, detail = problem.partition(" ")
    pt, en = _WORDS.get(code, ("", ""))
    words = pt if language == "pt-BR" else en
    return f"{words} ({detail})" if words else problem
