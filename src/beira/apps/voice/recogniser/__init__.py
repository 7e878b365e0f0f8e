"""Aurora's own speech recogniser: offline, pt-BR, for the closed domain of a shop.

A small acoustic model of Portuguese phones is decoded under a graph made from the commands'
sentences and the tenant's own people and products, so that a new name needs no training. See
`model/MODEL_CARD.md` for what it was measured to do, and what is not known.
"""

from beira.apps.voice.recogniser.endpoint import Endpointer, EndpointSettings
from beira.apps.voice.recogniser.grammar import Grammar, compile_grammar
from beira.apps.voice.recogniser.recogniser import (
    Alternative,
    Partial,
    Recogniser,
    Recognition,
    Slot,
    Stream,
)

__all__ = [
    "Alternative",
    "EndpointSettings",
    "Endpointer",
    "Grammar",
    "Partial",
    "Recogniser",
    "Recognition",
    "Slot",
    "Stream",
    "compile_grammar",
]
