"""How words sound: from the model's own lexicon, then a cache, then espeak-ng asked once a word.

espeak-ng is the authority because the acoustic model learnt from its phones: a rule set of our own
would disagree with what the model was taught. It runs in a child process, for a tenth of a
millisecond a word; the app's own words come with the model, so that without it only new names wait.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog

from beira.apps.voice.recogniser.phones import PHONES, phones_of_ipa
from beira.sdk import Corrupt, PrivateFiles, Unavailable

log = structlog.get_logger(__name__)

MOST_WORD_CHARS = 64
MOST_CACHED = 50_000
_WAIT_S = 10.0
_BATCH = 500
# Alone these are named as letters; in a sentence they are said otherwise.
_CLITICS = {
    "e": "i",
    "o": "u",
    "os": "us",
    "a": "a",
    "as": "as",
    "à": "a",
    "ao": "au",
    "aos": "aus",
}

Sounds = tuple[int, ...]


class Pronouncer:
    """Gives the phones of words. Thread-safe; `cache` is a file it may write, through `files`."""

    def __init__(
        self,
        lexicon: Mapping[str, str] | None = None,
        cache: Path | None = None,
        files: PrivateFiles | None = None,
    ) -> None:
        self._known: dict[str, Sounds] = {w: _sounds(p) for w, p in (lexicon or {}).items()}
        self._cache = cache
        self._files = files or PrivateFiles()
        self._lock = threading.Lock()
        if cache is not None and cache.exists():
            try:
                stored = json.loads(self._files.read(cache))
                self._known.update({w: _sounds(p) for w, p in stored.items()})
            except (ValueError, KeyError, AttributeError, OSError, Corrupt) as error:
                log.warning("voice.pronunciations_unreadable", path=str(cache), error=str(error))

    def sounds(self, words: Iterable[str]) -> dict[str, Sounds]:
        """Phones of each word; a word that cannot be pronounced, or not now, is left out."""
        wanted = {word for word in words if 0 < len(word) <= MOST_WORD_CHARS}
        with self._lock:
            new = sorted(wanted - self._known.keys())
            if new:
                self._learn(new)
                self._save()
            return {word: self._known[word] for word in wanted if self._known.get(word)}

    def _learn(self, new: list[str]) -> None:
        """Ask espeak-ng; where it fails twice the words wait, and everything else can be said."""
        for at in range(0, len(new), _BATCH):
            for again in (True, False):
                try:
                    self._known.update(ask_espeak(new[at : at + _BATCH]))
                    break
                except Unavailable as error:
                    if not again:
                        log.warning("voice.words_unpronounced", count=len(new), hint=error.hint)
                        return

    def _save(self) -> None:
        if self._cache is None:
            return
        recent = list(self._known.items())[-MOST_CACHED:]
        named = {word: " ".join(PHONES[p] for p in sounds) for word, sounds in recent}
        try:
            self._files.write(self._cache, json.dumps(named, ensure_ascii=False).encode())
        except OSError as error:
            log.warning("voice.pronunciations_unsaved", path=str(self._cache), error=str(error))


def ask_espeak(words: list[str]) -> dict[str, Sounds]:
    """Phones by espeak-ng; () for a word whose sounds the model does not have."""
    command = [sys.executable, str(Path(__file__).with_name("espeak_child.py"))]
    ask = json.dumps({"words": words}) + "\n"
    try:
        done = subprocess.run(command, input=ask.encode(), capture_output=True, timeout=_WAIT_S)
        ipas = json.loads(done.stdout.splitlines()[0])["ipas"]
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError, KeyError) as error:
        raise Unavailable(
            "espeak-ng did not say how new words sound", code="voice.no_pronunciation",
            hint="Install the voice extra (espeakng-loader) and try again.",
        ) from error  # fmt: skip
    return {
        word: phones_of_ipa(_CLITICS.get(word, ipa)) or ()
        for word, ipa in zip(words, ipas, strict=True)
    }


def _sounds(names: str) -> Sounds:
    return tuple(PHONES.index(name) for name in names.split())
