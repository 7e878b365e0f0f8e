"""Numbers, times, money, quantities and names as people say them, both ways. Pure.

What is parsed is `fold`ed first: small letters without accents or punctuation. What a person can
mean in two ways stays two ways (`SaidTime.minutes`): deciding is for the conversation.
"""

from __future__ import annotations

from beira.apps.voice.language.english import English
from beira.apps.voice.language.portuguese import Portuguese
from beira.apps.voice.language.values import Quantity, SaidTime, Tongue, fold

__all__ = ["Quantity", "SaidTime", "Tongue", "fold", "tongue"]

_TONGUES: dict[str, Tongue] = {"pt": Portuguese(), "en": English()}


def tongue(language: str) -> Tongue:
    """The ways of a language; Portuguese where it is not known."""
    return _TONGUES.get(language[:2].lower(), _TONGUES["pt"])
