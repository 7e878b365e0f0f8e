"""The dictionaries a node has of its site's: kept in its store (sealed with it on encrypted nodes),
fetched in the background when the link is cheap, and dropped at the first doubt."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable

import structlog
import zstandard

from beira.kernel import limits
from beira.kernel.dictionary import FIRST_OWN
from beira.kernel.errors import BeiraError, Corrupt
from beira.kernel.record import Value
from beira.kernel.wire import Offered
from beira.store.port import Store
from beira.sync.brief import Dictionary, Shelf

log = structlog.get_logger(__name__)
MARK = "sync.dictionaries"
CHEAP_LOOK_S = 60.0
Get = Callable[[int], Awaitable[bytes]]
"""Fetches a dictionary by its number. Raises BeiraError."""


class NodeDictionaries(Shelf):
    """One node's. `cheap` says whether the link costs little now."""

    def __init__(self, store: Store, cheap: Callable[[], bool] = lambda: True) -> None:
        self.held: dict[int, Dictionary] = {}
        self._store = store
        self._cheap = cheap
        self._loaded = False
        self._wanted: Offered | None = None
        self._told = asyncio.Event()
        self._doubted: set[str] = set()

    async def load(self) -> None:
        """Read what is on disk, once. What is damaged there counts as not there."""
        if not self._loaded:
            self._loaded = True
            found = (await self._store.marks(MARK)).get(MARK)
            made = map(_decoded, found if isinstance(found, list) else [])
            self.held = {one.number: one for one in made if one is not None}

    def told(self, offer: Offered | None) -> None:
        if offer is None or offer.sha256 in self._doubted or offer.number < FIRST_OWN:
            return
        here = self.held.get(offer.number)
        if here is None or here.sha256 != offer.sha256:
            self._wanted = offer
            self._told.set()

    def distrust(self) -> None:
        log.warning("dictionary.distrusted", numbers=sorted(self.held))
        self._doubted |= {one.sha256 for one in self.held.values()}
        self.held = {}

    async def follow(self, get: Get) -> None:
        """Fetch what the cloud offers, once a session; another session tries again."""
        await self._told.wait()
        self._told.clear()
        wanted = self._wanted
        while not self._cheap():
            await asyncio.sleep(CHEAP_LOOK_S)
        try:
            if wanted is not None:
                await self.keep(wanted, await get(wanted.number))
                log.info("dictionary.fetched", number=wanted.number)
        except BeiraError as error:
            log.warning("dictionary.not_fetched", why=error.message)

    async def keep(self, offer: Offered, data: bytes) -> None:
        """Take a dictionary that came, for the sessions to come. Raises Corrupt `dictionary.mismatch`
        if it is not what was offered."""
        if len(data) > limits.DICTIONARY_BYTES or _sha256(data) != offer.sha256:
            raise _mismatch(offer.number)
        if zstandard.ZstdCompressionDict(data).dict_id() != offer.number:
            raise _mismatch(offer.number)
        await self.load()
        others = [one for number, one in self.held.items() if number != offer.number]
        newest = sorted(others, key=lambda one: -one.number)[: limits.DICTIONARIES_KEPT - 1]
        kept = [Dictionary(offer.number, data), *newest]
        marks: dict[str, Value] = {MARK: [_encoded(one) for one in kept]}
        await self._store.commit([], marks=marks)
        self.held = {one.number: one for one in kept}


def _encoded(one: Dictionary) -> Value:
    return [one.number, one.sha256, base64.b64encode(one.data).decode()]


def _decoded(value: Value) -> Dictionary | None:
    try:
        number, sha256, text = value
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return None
    return Dictionary(number, data) if _sha256(data) == sha256 else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _mismatch(number: int) -> BeiraError:
    return Corrupt(
        f"What came as dictionary {number} is not what the cloud offered.",
        code="dictionary.mismatch",
        hint="It was thrown away; the one in use stays. Something on the way may alter downloads.",
    )
