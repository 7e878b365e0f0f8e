"""Speech to measure recognition with, made from seeds: nothing of it was heard in training.

Kept apart: the voices, rates and pitches listed in `training/voices.py`, all seeds of noise, and the
people and products here. A second synthesiser (Debian's festival with an Italian voice) is used where
it is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from training import augment, text, voices
from training.synth import Synth

from beira.apps.voice.recogniser.phones import phones_of_ipa
from beira.apps.voice.records import Person, Product
from beira.apps.voice.sentences import grammar_source
from beira.apps.voice.understand import Directory, Named, Understanding
from benchmarks import voice_festival

EMPLOYEES = (
    "João Pereira", "João Batista", "Maria Clara", "Ana", "Pedro", "José Carlos", "Antônia",
    "Francisco", "Luiza", "Rafael", "Camila", "Tiago", "Beatriz", "Gustavo", "Fernanda",
    "Rodrigo", "Juliana", "Marcelo", "Patrícia", "Wesley", "Simone", "Anderson", "Vanessa",
    "Edson", "Cristiane", "Jéssica", "Leandro", "Adriana", "Sérgio", "Débora", "Valdir", "Neusa",
    "Cláudio", "Rosângela", "Everton", "Ivone", "Guilherme", "Letícia", "Zuleica", "Hermes",
)  # fmt: skip
PRODUCTS = (
    "arroz branco", "arroz integral", "feijão preto", "feijão carioca", "coca cola", "guaraná",
    "leite integral", "leite desnatado", "café em pó", "açúcar", "sal grosso", "óleo de soja",
    "azeite", "macarrão", "molho de tomate", "farinha de trigo", "fubá", "manteiga", "margarina",
    "queijo minas", "presunto", "pão francês", "biscoito", "chocolate", "sabão em pó",
    "detergente", "água sanitária", "papel higiênico", "sabonete", "xampu", "pasta de dente",
    "cerveja", "vinho tinto", "frango congelado", "carne moída", "linguiça", "banana", "maçã",
    "tomate", "cebola",
)  # fmt: skip
OUTSIDE = (
    "amanhã vai chover no litoral", "você viu o jogo de ontem à noite",
    "meu filho começou na escola nova", "esse ônibus passa na praça central",
    "a novela das nove está muito boa", "comprei um sapato vermelho",
    "minha avó mora em outra cidade", "o trânsito estava parado na ponte",
    "vamos almoçar mais tarde", "ela disse que não vem na festa",
    "preciso ligar para o meu irmão", "esqueci o guarda chuva no carro",
    "o cachorro do vizinho late demais", "eu gosto de viajar nas férias",
    "ele trabalha com computador", "a reunião ficou para semana que vem",
    "perdi o celular no táxi", "tem um rapaz esperando lá fora",
    "você pode segurar isso um instante", "nunca mais volto naquele restaurante",
    "que calor insuportável", "a prova de matemática foi difícil", "ontem eu dormi muito mal",
    "o time perdeu de novo", "minha irmã vai casar em maio", "esse filme eu já assisti",
    "abre a janela que está abafado", "o médico pediu outro exame",
    "a gente se encontra no cinema", "coloca uma música mais animada",
    "o preço da gasolina subiu outra vez", "onde você estudou quando era criança",
    "quantos anos tem a sua filha", "registrei meu carro no cartório",
    "o ponto de ônibus mudou de lugar", "ajuda lá em casa seria bom",
    "quanto tempo falta para o natal", "ele saiu do emprego em março",
    "a venda da casa demorou um ano", "chegaram as visitas para o jantar",
    "o estoque de paciência acabou", "vou tomar um café e já volto",
    "as horas passam devagar no hospital", "o caixa do banco era simpático",
    "emprestei dinheiro para um amigo", "não sei o que fazer com isso", "tudo bem com a senhora",
    "obrigado e até mais ver", "bom dia como vai você", "pode me passar o seu telefone",
)  # fmt: skip
FOREIGN = (
    ("en-us", "could you please open the window for me"),
    ("en-us", "what time does the next train leave"),
    ("en-us", "I would like a cup of tea with milk"),
    ("en-us", "the quick brown fox jumps over the dog"),
    ("es", "mañana vamos a la playa con los niños"), ("es", "dónde queda la estación de tren"),
    ("es", "no me gusta nada esta canción"), ("fr-fr", "je voudrais une baguette et du fromage"),
    ("fr-fr", "il fait très froid ce matin"), ("de", "wir fahren morgen nach Hamburg"),
    ("it", "vorrei prenotare un tavolo per due"), ("it", "la macchina è rimasta senza benzina"),
)  # fmt: skip

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Utterance:
    """A recording and the truth of it; `intent` '' is out of the domain."""

    pcm: Pcm
    words: list[str]
    intent: str
    slots: list[tuple[str, str]]
    speech_end_s: float
    voice: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Domain:
    """Sentences, lists and rules to recognise, and what a text of them means."""

    sentences: Mapping[str, Sequence[str]]
    lists: Mapping[str, Sequence[str]]
    rules: Mapping[str, str]
    understanding: Understanding

    def meaning(self, words: Sequence[str]) -> object:
        """What the app understands by these words: equal where it would do the same."""
        found = self.understanding.understand(" ".join(words))
        if not found:
            return None
        slots = {
            name: (value.ids or value.said) if isinstance(value, Named) else value
            for name, value in found[0].slots.items()
        }
        return found[0].intent, slots


def shop(people: Sequence[str] = EMPLOYEES, products: Sequence[str] = PRODUCTS) -> Domain:
    """The app's own sentences with these people and products, each said by its whole name."""
    directory = Directory.of(
        "pt-BR",
        [Person(id=f"p{i}", name=name) for i, name in enumerate(people)],
        [Product(id=f"g{i}", name=name) for i, name in enumerate(products)],
    )
    source = grammar_source("pt-BR", directory.said_people, directory.said_products)
    understanding = Understanding("pt-BR", directory)
    return Domain(source.sentences, source.lists, source.rules, understanding)


@dataclass
class Maker:
    """Makes utterances; the same seed makes the same ones."""

    seed: int = 2026
    variants: Sequence[str] = voices.TEST_VARIANTS
    synth: Synth = field(default_factory=Synth)
    _babble: list[Floats] = field(default_factory=list)

    def commands(self, what: Domain, count: int, snr_db: float | None) -> list[Utterance]:
        """`count` commands, intents in turn, in noise at `snr_db` (None: a quiet room)."""
        made: list[Utterance] = []
        intents = list(what.sentences)
        for number in range(count):
            rng = np.random.default_rng([self.seed, number])
            intent, words, slots = text.command(
                rng, what.sentences, what.lists, what.rules, intents[number % len(intents)]
            )
            made += self.utter(rng, intent, words, slots, snr_db)
        return made

    def festival(
        self, what: Domain, count: int, snr_db: float | None,
        people: voice_festival.Voices = voice_festival.ITALIAN,
    ) -> list[Utterance]:  # fmt: skip
        """Commands by a synthesiser training never heard; empty where it is not installed."""
        if not people.available():
            return []
        asked, phones = [], []
        intents = list(what.sentences)
        for number in range(count):
            rng = np.random.default_rng([self.seed + 2, number])
            told = text.command(
                rng, what.sentences, what.lists, what.rules, intents[number % len(intents)]
            )
            said = self.synth.say(" ".join(told[1]))
            sounds = phones_of_ipa(said[1]) if said else None
            if sounds:
                asked.append((rng, told))
                phones.append(sounds)
        spoken = voice_festival.say(phones, self.seed, people)
        return [
            self.placed(rng, speech, told[0], told[1], told[2], snr_db, "festival")
            for (rng, told), speech in zip(asked, spoken, strict=True)
            if speech is not None
        ]

    def outside(self, count: int, snr_db: float | None) -> list[Utterance]:
        """Speech that is no command: everyday sentences, other languages, invented words."""
        made: list[Utterance] = []
        for number in range(count):
            rng = np.random.default_rng([self.seed + 1, number])
            if number % 5 == 3:
                language, said = FOREIGN[number // 5 % len(FOREIGN)]
            elif number % 5 == 4:
                language, said = "pt-br", text.generic_sentence(rng)
            else:
                language, said = "pt-br", OUTSIDE[(number // 5 * 3 + number % 5) % len(OUTSIDE)]
            made += self.utter(rng, "", said.split(), [], snr_db, language)
        return made

    def utter(
        self, rng: np.random.Generator, intent: str, words: list[str],
        slots: list[tuple[str, str]], snr_db: float | None, language: str = "pt-br",
    ) -> list[Utterance]:  # fmt: skip
        """These words by a voice at random, in noise; nothing where the synthesiser failed."""
        voice = str(rng.choice(list(self.variants)))
        said = self.synth.say(
            " ".join(words), f"{language}+{voice}", int(rng.choice(voices.UNSEEN_RATES)),
            int(rng.choice(voices.UNSEEN_PITCHES)), 50,
        )  # fmt: skip
        if said is None:
            return []
        return [self.placed(rng, said[0], intent, words, slots, snr_db, voice)]

    def placed(
        self, rng: np.random.Generator, speech: Floats, intent: str, words: list[str],
        slots: list[tuple[str, str]], snr_db: float | None, voice: str,
    ) -> Utterance:  # fmt: skip
        """The speech in a room, with noise, 0.3 s before and 1 s after it."""
        loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max())
        speech = speech[: loud[-1] + 1] if len(loud) else speech
        before, after = 0.3, 1.0
        end_s = before + len(speech) / augment.RATE_HZ
        speech = np.pad(speech, (int(before * augment.RATE_HZ), int(after * augment.RATE_HZ)))
        if rng.random() < 0.5:
            speech = augment.room(rng, speech, float(rng.uniform(0.15, 0.4)))
        kind, noise = self._noise(rng, len(speech))
        mixed = augment.add_noise(speech, noise, 40.0 if snr_db is None else snr_db)
        pcm = (augment.at_level(mixed, float(rng.uniform(-20, -3))) * 32_767).astype(np.int16)
        return Utterance(pcm, words, intent, slots, end_s, voice, kind)

    def _noise(self, rng: np.random.Generator, count: int) -> tuple[str, Floats]:
        kind = str(rng.choice(["steady", "hum", "clatter", "babble"]))
        if kind == "steady":
            return kind, augment.shaped_noise(rng, count, float(rng.choice([-4.0, -2.0, 0.0])))
        if kind == "hum":
            return kind, augment.hum(rng, count)
        if kind == "clatter":
            return kind, augment.clatter(rng, count)
        if not self._babble:
            said = [self.synth.say(s, f"pt-br+{v}") for s, v in zip(OUTSIDE, self.variants)]  # noqa: B905
            self._babble = [one[0] for one in said if one is not None]
        return kind, augment.babble(rng, count, self._babble)
