"""Words are pronounced once, remembered, and missing ones stop nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from beira.apps.voice.recogniser import pronounce
from beira.apps.voice.recogniser.phones import PHONES
from beira.apps.voice.recogniser.pronounce import Pronouncer, ask_espeak
from beira.sdk import Unavailable


def spelled(sounds: tuple[int, ...]) -> str:
    return " ".join(PHONES[p] for p in sounds)


def test_espeak_says_how_words_sound() -> None:
    found = ask_espeak(["joão", "guaraná", "e", "às"])
    assert spelled(found["joão"]) == "Z o ã u"
    assert spelled(found["guaraná"]).startswith("g u a r")
    assert spelled(found["e"]) == "i" and spelled(found["às"]) == "a s"


def test_the_cache_is_used_and_survives_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "words.json"
    first = Pronouncer({"sim": "s i N"}, cache).sounds(["sim", "zuleica", ""])
    assert set(first) == {"sim", "zuleica"}

    def never(_words: list[str]) -> dict[str, tuple[int, ...]]:
        raise AssertionError("asked again")

    monkeypatch.setattr(pronounce, "ask_espeak", never)
    assert Pronouncer(cache=cache).sounds(["zuleica"]) == {"zuleica": first["zuleica"]}
    cache.write_text("{ not json")
    assert Pronouncer({"sim": "s i N"}, cache).sounds(["sim"]) == {"sim": first["sim"]}


def test_without_espeak_known_words_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def gone(words: list[str]) -> dict[str, tuple[int, ...]]:
        asked.append(words)
        raise Unavailable("away", hint="install it")

    monkeypatch.setattr(pronounce, "ask_espeak", gone)
    assert set(Pronouncer({"sim": "s i N"}).sounds(["sim", "zuleica"])) == {"sim"}
    assert asked == [["zuleica"], ["zuleica"]]


def test_a_word_too_long_is_left_out() -> None:
    assert Pronouncer().sounds(["a" * 200]) == {}
