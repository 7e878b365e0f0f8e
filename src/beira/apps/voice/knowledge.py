"""What Aurora knows at a site: its people, products and settings, followed as the store changes.

One per host and language, shared by all who talk there. News only marks it stale; the next turn
reads anew.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar
from weakref import WeakKeyDictionary

import structlog

from beira.apps.voice.answers import Wording
from beira.apps.voice.dialogue import Bars
from beira.apps.voice.records import Person, Product
from beira.apps.voice.settings import VoiceSettings
from beira.apps.voice.understand import Directory, Understanding
from beira.sdk import BeiraError, Host, News, Order, Query, State, collection_of

log = structlog.get_logger(__name__)
K = TypeVar("K", bound=State)
FOLLOWED = frozenset({"people", "products", "settings", "sites"})
PAGE_ROWS = 1_000
MOST_ROWS = 20_000


class Knowledge:
    """`settings`, `understanding` and `wording` as of the last `fresh`."""

    def __init__(self, host: Host, language: str) -> None:
        self._host, self._asked = host, language
        self._stale = True
        self._reading = asyncio.Lock()
        self._names_stale = True
        self.settings = VoiceSettings()
        self.language = language or self.settings.language
        self.products: dict[str, Product] = {}
        self.understanding: Understanding
        self.wording: Wording
        self._stop = host.store.subscribe(self._news)

    async def fresh(self) -> Knowledge:
        """Itself, with all that has changed read in."""
        async with self._reading:
            if self._stale:
                self._stale = False
                try:
                    await self._read()
                except BaseException:
                    self._stale = self._names_stale = True
                    raise
        return self

    def close(self) -> None:
        self._stop()

    def _news(self, news: News) -> None:
        for collection, _, _ in news.rows:
            if collection in FOLLOWED:
                self._stale = True
                self._names_stale |= collection in ("people", "products")

    async def _read(self) -> None:
        settings = await self._host.settings(VoiceSettings)
        language = self._asked or settings.language
        changed = settings != self.settings or language != self.language
        first = not hasattr(self, "understanding")
        if self._names_stale or changed or first:
            self._names_stale = False
            directory = await self._directory(language)
            if first or changed:
                self.understanding = _understanding(settings, language, directory)
            else:
                self.understanding.set_directory(directory)
        self.settings, self.language = settings, language
        answers = self.understanding.sentences.answers
        self.wording = Wording(language, answers, self._host.place.zone)

    async def _directory(self, language: str) -> Directory:
        people = await everything(self._host, Person)
        products = await everything(self._host, Product)
        self.products = {p.id: p for p in products}
        return Directory.of(language, people, products, self._host.place.site)

    @property
    def bars(self) -> Bars:
        """How sure is sure enough, as the settings have it."""
        s = self.settings
        return Bars(books=s.act_confidence, alert=s.alert_confidence, words=s.answer_confidence,
                    heard=s.heard_confidence, confirm_always=s.confirm_always,
                    question_s=s.question_s)  # fmt: skip


def _understanding(settings: VoiceSettings, language: str, directory: Directory) -> Understanding:
    """With the shop's own sentences, or without them if their file cannot be used."""
    try:
        return Understanding(
            language, directory, extra=settings.sentences_file, wake_word=settings.wake_word
        )
    except BeiraError as error:
        if not settings.sentences_file:
            raise
        log.warning("voice.sentences_left_out", why=error.message, hint=error.hint)
        return Understanding(language, directory, wake_word=settings.wake_word)


async def everything(host: Host, kind: type[K]) -> list[K]:
    """All records of a kind that a host holds, at most MOST_ROWS."""
    declared = collection_of(kind)
    found: list[K] = []
    while len(found) < MOST_ROWS:
        page = await host.store.query(
            Query(
                collection=declared.name, order=(Order("id"),), limit=PAGE_ROWS, offset=len(found)
            )
        )
        found += [declared.decode(str(row["id"]), row) for row in page.rows]  # type: ignore[misc]
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
    """What is known at a place of this process, if somebody listens there."""
    for host, by_language in _KNOWN.items():
        if (host.place.tenant, host.place.site) == (tenant, site) and by_language:
            return by_language.get("") or next(iter(by_language.values()))
    return None
