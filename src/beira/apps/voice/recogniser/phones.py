"""The phones the acoustic model knows, and how espeak-ng's IPA maps to them.

The inventory is small on purpose: open and close vowels, full vowels and glides, taps and coda r are
merged, because speakers and regions differ there and a closed domain does not need the difference.
What a region pronounces in two ways is decoded as a *set* of phones (see `variants`).
"""

from __future__ import annotations

import unicodedata

BLANK = 0
PHONES: tuple[str, ...] = (
    "_", "a", "ã", "e", "i", "o", "u", "N", "m", "n", "ñ", "p", "b", "t", "d", "k", "g",
    "f", "v", "s", "z", "S", "Z", "tS", "dZ", "h", "r", "l",
)  # fmt: skip
INDEX: dict[str, int] = {phone: index for index, phone in enumerate(PHONES)}

_DIGRAPHS = {"tʃ": "tS", "dʒ": "dZ", "ɐ̃": "ã", "ã": "ã"}
_SINGLES = {
    **dict.fromkeys("aæɐɑə", "a"), **dict.fromkeys("eɛ", "e"), **dict.fromkeys("iɪyɨjʝ", "i"),
    **dict.fromkeys("oɔɒ", "o"), **dict.fromkeys("uʊw", "u"), "ŋ": "N", "m": "m", "ɱ": "m",
    "n": "n", "ɲ": "ñ", "p": "p", "b": "b", "β": "b", "t": "t", "d": "d", "ð": "d",
    "k": "k", "c": "k", "ɡ": "g", "g": "g", "ɣ": "g", "f": "f", "v": "v", "s": "s", "θ": "s",
    "z": "z", "ʃ": "S", "ʒ": "Z", "x": "h", "χ": "h", "ʁ": "h", "h": "h", "ɦ": "h",
    "r": "r", "ɾ": "r", "ɹ": "r", "l": "l", "ɫ": "l",
}  # fmt: skip
_SILENT = frozenset("ˈˌːʲˑ.;|_-‿̩̯ \u200d\u0303")


def phones_of_ipa(ipa: str) -> tuple[int, ...] | None:
    """Phone indices of one stretch of espeak-ng IPA, or None if it has a sound we do not know."""
    text = unicodedata.normalize("NFD", ipa)
    found: list[int] = []
    at = 0
    while at < len(text):
        pair, char = unicodedata.normalize("NFC", text[at : at + 2]), text[at]
        if text[at : at + 2] in _DIGRAPHS or pair in _DIGRAPHS:
            found.append(INDEX[_DIGRAPHS.get(text[at : at + 2], _DIGRAPHS.get(pair, "_"))])
            at += 2
        elif char == "(" and ")" in text[at:]:
            at = text.index(")", at) + 1
        elif char == "ʎ":
            found += [INDEX["l"], INDEX["i"]]
            at += 1
        elif char in _SINGLES:
            found.append(INDEX[_SINGLES[char]])
            at += 1
        elif char in _SILENT:
            at += 1
        else:
            return None
    return tuple(found)
