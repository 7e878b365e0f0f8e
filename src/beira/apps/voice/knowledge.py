"""What Aurora knows at a site: its people, products and settings, followed as the store changes.

One `Knowledge` per host and language is shared by all who talk there. News only marks it stale; the
next turn reads anew what has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import TypeVar
from weakref import WeakKeyDictionary, ref

import structlog

from beira.apps.voice.answers import Wording
from beira.apps.voice.dialogue import Bars
from beira.apps.voice.records import Person, Product
from beira.apps.voice.sentences import Spoken, spoken, stamp
from beira.apps.voice.settings import VoiceSettings
from beira.apps.voice.understand import Directory, Understanding
from beira.sdk import BeiraError, Host, News, Order, Query, State, collection_of

log = structlog.get_logger(__name__)
K = TypeVar("K", bound=State)
NAMED = frozenset({"people", "products"})
FOLLOWED = NAMED | {"settings", "sites"}
PAGE_ROWS = 1_000
MOST_ROWS = 20_000


@dataclass(frozen=True)
class Known:
    """All that a turn needs to know, as of one moment."""

    settings: VoiceSettings
    language: str
    understanding: Understanding
    wording: Wording
    products: Mapping[str, Product]

    @classmethod
    def of(
        cls,
        settings: VoiceSettings,
        people: Sequence[Person],
        products: Sequence[Product],
        *,
        language: str = "",
        site: str | None,
        zone: tzinfo,
        others: tuple[Spoken, ...] = (),
    ) -> Known:
        """In the settings' language, unless another is named."""
        language = language or settings.language
        directory = Directory.of(language, people, products, site)
        understanding = _understanding(settings, language, directory, others)
        wording = Wording(language, understanding.sentences.answers, zone)
        return cls(settings, language, understanding, wording, {p.id: p for p in products})

    @property
    def weighed(self) -> frozenset[str]:
        """Products that are counted by weight or volume."""
        return frozenset(p.id for p in self.products.values() if p.unit in ("kg", "l"))

    @property
    def bars(self) -> Bars:
        """How sure is sure enough, as the settings have it."""
        s = self.settings
        return Bars(
            books=s.act_confidence,
            alert=s.alert_confidence,
            words=s.answer_confidence,
            heard=s.heard_confidence,
            confirm_always=s.confirm_always,
            question_s=s.question_s,
        )


class Knowledge:
    """Keeps what is known at a host fresh."""

    def __init__(self, host: Host, language: str) -> None:
        self._language = language
        self._host = ref(host)
        self._reading = asyncio.Lock()
        self._stale = self._names_stale = True
        self._known: Known | None = None
        self._people: list[Person] = []
        self._products: list[Product] = []
        self._file = (0, 0)
        host.store.subscribe(self._news)

    async def fresh(self) -> Known:
        """What is known now. Raises Unavailable when the store is away."""
        host = self._host()
        assert host is not None, "asked by somebody at that host"
        async with self._reading:
            if self._known is not None and not self._stale and not self._file_changed():
                return self._known
            names_stale, self._stale, self._names_stale = self._names_stale, False, False
            try:
                self._known = await self._read(host, names_stale)
            except BaseException:
                self._stale, self._names_stale = True, names_stale
                raise
            return self._known

    def _file_changed(self) -> bool:
        """Whether the shop's own sentences were edited since they were read."""
        assert self._known is not None
        return stamp(self._known.settings.sentences_file) != self._file

    def _news(self, news: News) -> None:
        for collection, _, _ in news.rows:
            if collection in FOLLOWED:
                self._stale = True
                self._names_stale |= collection in NAMED

    async def _read(self, host: Host, names_stale: bool) -> Known:
        settings = await host.settings(VoiceSettings)
        if names_stale:
            self._people = await everything(host, Person)
            self._products = await everything(host, Product)
        place = host.place
        before, self._file = self._file, stamp(settings.sentences_file)
        same = not names_stale and before == self._file
        if self._known is not None and same and settings == self._known.settings:
            answers = self._known.understanding.sentences.answers
            return replace(self._known, wording=Wording(self._known.language, answers, place.zone))
        return Known.of(settings, self._people, self._products, language=self._language,
                        site=place.site, zone=place.zone,
                        others=spoken(host.catalogue.apps))  # fmt: skip


def _understanding(
    settings: VoiceSettings, language: str, directory: Directory, others: tuple[Spoken, ...]
) -> Understanding:
    """With the shop's own sentences, or without them if their file cannot be used."""
    try:
        return Understanding(
            language, directory, extra=settings.sentences_file, wake_word=settings.wake_word,
            others=others,
        )  # fmt: skip
    except BeiraError as error:
        if not settings.sentences_file:
            raise
        log.warning("voice.sentences_left_out", why=error.message, hint=error.hint)
        return Understanding(language, directory, wake_word=settings.wake_word, others=others)


async def everything(host: Host, kind: type[K]) -> list[K]:
    """All records of a kind that a host holds, at most MOST_ROWS."""
    declared = collection_of(kind)
    found: list[K] = []
    read = 0
    while read < MOST_ROWS:
        page = await host.store.query(
            Query(collection=declared.name, order=(Order("id"),), limit=PAGE_ROWS, offset=read)
        )
        read += len(page.rows)
        found += declared.decode_whole(page.rows)  # type: ignore[arg-type]
        if len(page.rows) < PAGE_ROWS:
            break
    return found


_KNOWN: WeakKeyDictionary[Host, dict[str, Knowledge]] = WeakKeyDictionary()


def knowledge_of(host: Host, language: str = "") -> Knowledge:
    """What is known at a host in a language (empty: the one of the settings)."""
    by_language = _KNOWN.setdefault(host, {})
    if language not in by_language:
        by_language[language] = Knowledge(host, language)
    return by_language[language]


def knowledge_at(tenant: str, site: str | None) -> Knowledge | None:
    """What is known at a place of this process, if somebody talked there."""
    for host, by_language in _KNOWN.items():
        if (host.place.tenant, host.place.site) == (tenant, site):
            return by_language.get("")
    return None
