"""Other apps' sentences: the player is asked for by voice, and knows nothing of it."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from tests.unit.voice.shop import MORNING, TurnedWall
from tests.unit.voice_recogniser.conftest import MODEL, Say, say  # noqa: F401 (a fixture)

from beira.apps.player import app as player
from beira.apps.voice import app as voice
from beira.apps.voice.assistant import Assistant, Heard, Turn
from beira.apps.voice.language import fold
from beira.apps.voice.recogniser import Recogniser, compile_grammar
from beira.apps.voice.sentences import LANGUAGES, Spoken, grammar_source, load, spoken
from beira.apps.voice.understand import Directory, Understanding
from beira.host import Host, Place
from beira.kernel.access import Kind, Principal
from beira.kernel.app import App, catalogue
from beira.kernel.command import Context, command, command_of
from beira.store.memory import MemoryStore

BROUGHT = spoken([voice, player])
SAID = {
    "pt-BR": {
        "Aurora, pausa a música": ("player_pause", {}),
        "para o som, por favor": ("player_pause", {}),
        "toca a música": ("player_play", {}),
        "volta com a música": ("player_play", {}),
        "próxima música": ("player_skip", {}),
        "pula essa faixa": ("player_skip", {}),
        "aumenta o volume": ("player_volume", {"change": 10}),
        "mais baixo": ("player_volume", {"change": -10}),
        "volume em 40": ("player_volume", {"volume": 40}),
        "Aurora, anunciar que a loja fecha em dez minutos": (
            "player_announce",
            {"text": "a loja fecha em dez minutos"},
        ),
        "coloca o volume em sessenta e cinco por cento": ("player_volume", {"volume": 65}),
    },
    "en": {
        "Aurora, pause the music": ("player_pause", {}),
        "play the music": ("player_play", {}),
        "next song": ("player_skip", {}),
        "turn up the volume a bit": ("player_volume", {"change": 10}),
        "turn the music down": ("player_volume", {"change": -10}),
        "volume at 40": ("player_volume", {"volume": 40}),
        "announce that the shop closes soon": (
            "player_announce",
            {"text": "the shop closes soon", "language": "en"},
        ),
    },
}


def understanding(language: str, brought: tuple[Spoken, ...] = BROUGHT) -> Understanding:
    return Understanding(language, Directory.of(language, [], []), others=brought)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_player_is_understood_where_it_is_installed(language: str) -> None:
    with_player, alone = understanding(language), understanding(language, ())
    for text, meant in SAID[language].items():
        first = with_player.understand(text)[0]
        assert (first.intent, first.slots) == meant, text
        assert not any(m.intent.startswith("player") for m in alone.understand(text)), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_an_app_proposes_to_say_is_understood_as_its_own(language: str) -> None:
    known, alone = load(language, others=BROUGHT), load(language)
    (group,) = known.examples
    assert not alone.examples and len(group.sentences) >= 4
    for sentence in group.sentences:
        (first, *_) = understanding(language).understand(sentence)
        assert first.intent in known.others, sentence


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_command_that_can_be_asked_for_takes_what_its_sentences_give(language: str) -> None:
    commands = {c.name: c for c in player.commands}
    known = load(language, others=BROUGHT)
    assert set(known.others) == {
        "player_play", "player_pause", "player_skip", "player_volume", "player_announce",
    }  # fmt: skip
    for block in known.blocks:
        if block.intent in known.others:
            commands[block.intent].check(block.slots)
            assert f"confirm.{block.intent}" in known.answers


@pytest.mark.parametrize("language", LANGUAGES)
def test_auroras_own_sentences_mean_what_they_did(language: str) -> None:
    alone, with_player = load(language), load(language, others=BROUGHT)
    assert with_player.blocks[: len(alone.blocks)] == alone.blocks
    assert {k: with_player.answers[k] for k in alone.answers} == dict(alone.answers)
    assert {k: with_player.rules[k] for k in alone.rules} == dict(alone.rules)
    assert {k: with_player.lists[k] for k in alone.lists} == dict(alone.lists)


SAYINGS = [
    ("aurora pausa a música", "player_pause", {}),
    ("aurora próxima música", "player_skip", {}),
    ("aurora aumenta o volume", "player_volume", {"change": 10}),
    ("aurora volume em quarenta", "player_volume", {"volume": 40}),
    ("aurora toca a música", "player_play", {}),
]


@pytest.fixture(scope="module")
def listening() -> Recogniser:
    source = grammar_source("pt-BR", ["joão", "maria clara"], ["arroz", "leite"], others=BROUGHT)
    return Recogniser(MODEL, compile_grammar(source.sentences, source.lists, source.rules))


@pytest.mark.parametrize("sayer", ["pt-br", "pt-br+f5"])
@pytest.mark.parametrize(("said", "intent", "slots"), SAYINGS)
def test_what_is_said_to_the_player_is_heard(
    listening: Recogniser, say: Say, sayer: str, said: str, intent: str, slots: dict[str, int]  # noqa: F811
) -> None:  # fmt: skip
    heard = listening.recognise(say(said, sayer))
    assert (heard.text, heard.intent) == (said, intent)
    first = understanding("pt-BR").understand(heard.text)[0]
    assert (first.intent, first.slots) == (intent, slots)


def test_the_shops_own_sentences_are_heard_as_before(listening: Recogniser, say: Say) -> None:  # noqa: F811
    for text in ("aurora registrar ponto do joão às duas e meia", "aurora quanto custa o arroz"):
        assert fold(listening.recognise(say(text)).text) == fold(text)


ASKED: list[tuple[str, object]] = []


@command(roles=("owner", "member"))
async def radio_pause(ctx: Context) -> dict[str, str]:
    """Pauses."""
    ASKED.append(("pause", None))
    return {"told": "radio.paused"}


@command(roles=("owner", "member"))
async def radio_tune(ctx: Context, station: int) -> None:
    """Tunes."""
    ASKED.append(("tune", station))


@command(roles=("owner",))
async def radio_sell(ctx: Context) -> None:
    """Sells the radio."""
    ASKED.append(("sell", None))


RADIO = """
intents:
  radio_pause:
    data: [{sentences: ["cala o rádio"]}]
  radio_tune:
    data: [{sentences: ["<tune> a estação {station}"]}]
  radio_sell:
    data: [{sentences: ["vende o rádio"], metadata: {risk: books}}]
expansion_rules: {tune: "(sintoniza|põe)"}
lists:
  station: {values: [{in: "um", out: 1}, {in: "dois", out: 2}]}
answers: {radio.paused: "Rádio calado.", confirm.radio_sell: "Vender o rádio?", cancelled: "Não!"}
"""


NUMBERS = count()
"""A package is imported once, so each has a name of its own."""


def radio(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = RADIO) -> App:
    """An app of its own, as anyone might write one."""
    package = folder / f"radio_{next(NUMBERS)}"
    (package / "said").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "said" / "pt-BR.yaml").write_text(text)
    monkeypatch.syspath_prepend(folder)
    handlers = (radio_pause, radio_tune, radio_sell)
    return App(name="radio", title="Rádio", sentences=f"{package.name}:said",
               commands=tuple(command_of(handler) for handler in handlers))  # fmt: skip


class Counter:
    """A node with Aurora and another app."""

    def __init__(self, other: App) -> None:
        declared = catalogue([voice, other])
        store = MemoryStore(declared.collections, tenant="t")
        place = Place(tenant="t", node="n", site="s", name="Balcão", zone=MORNING.tzinfo)  # type: ignore[arg-type]
        self.host = Host(place=place, store=store, catalogue=declared, wall=TurnedWall(),
                         route=lambda row: None)  # fmt: skip
        self.aurora = Assistant(self.host)
        ASKED.clear()

    async def say(self, text: str, confidence: float = 1.0) -> Turn:
        return await self.aurora.hear(Heard(text=text, confidence=confidence))


async def test_any_apps_commands_are_run_by_their_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(radio(tmp_path, monkeypatch))
    turn = await counter.say("Aurora, cala o rádio")
    assert (turn.show, turn.outcome, turn.command) == ("Rádio calado.", "done", "radio_pause")
    assert turn.receipt is not None and turn.receipt.command == "radio_pause"
    assert (await counter.say("sintoniza a estação dois")).show == "Feito."
    assert ASKED == [("pause", None), ("tune", 2)]


async def test_what_is_not_sure_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(radio(tmp_path, monkeypatch))
    turn = await counter.say("vende o rádio", 0.8)
    assert (turn.show, turn.expects) == ("Vender o rádio?", "yes_no")
    turn = await counter.say("não")
    assert turn.show == "Certo, deixei como estava.", "no app changes what Aurora says herself"
    turn = await counter.say("cala o rádio", 0.4)
    assert turn.expects == "yes_no" and turn.show and ASKED == []
    assert (await counter.say("sim")).outcome == "done" and ASKED == [("pause", None)]


async def test_a_person_has_their_own_rights_by_voice_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(radio(tmp_path, monkeypatch))
    await counter.say("ajuda")
    person = Principal(kind=Kind.PERSON, id="u", tenant="t", name="Zé", role="member", sites=("s",))
    receipt = await counter.host.run("say", {"text": "vende o rádio"}, principal=person, door="api")
    assert receipt.result["outcome"] == "refused" and ASKED == []
    receipt = await counter.host.run("say", {"text": "cala o rádio"}, principal=person, door="api")
    assert receipt.result["outcome"] == "done" and ASKED == [("pause", None)]


@pytest.mark.parametrize(
    "wrong",
    [
        "intents: {register_punch: {data: [{sentences: [oi]}]}}",
        'intents: {radio_pause: {data: [{sentences: ["<nowhere>"]}]}}',
        "intents: {radio_pause: {data: [{sentences: [oi], metadata: {risk: huge}}]}}",
        "intents: [",
    ],
)
async def test_an_app_whose_file_is_wrong_makes_nobody_deaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    counter = Counter(radio(tmp_path, monkeypatch, wrong))
    assert (await counter.say("cala o rádio")).outcome == "not_understood"
    assert (await counter.say("que horas são")).outcome == "done"
