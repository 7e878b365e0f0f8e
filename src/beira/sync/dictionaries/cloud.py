"""Dictionaries made for a site's small messages: sampled, trained, kept and given by the cloud.

A dictionary holds fragments of what was said, so each is one site's alone: it lies in that tenant's
rows, is trained on that site's messages without what is personal in them (`kernel.dictionary`), and
is given to that site's nodes only. All that is kept in memory is bounded and may be lost: samples
gather again, dictionaries are read again. What the tenant has is in marks: `dictionary:<site>` says
which there are and when one was last tried, `dictionary.data:<site>:<number>` holds one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import structlog

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.collection import Registry
from beira.kernel.dictionary import FIRST_OWN, HELD_OUT, harmless, is_due, is_held_out, is_worth
from beira.kernel.errors import BeiraError, Conflict, NotFound
from beira.kernel.record import Value
from beira.kernel.wire import Feed, Offered, Push, Wire
from beira.sync.brief import Dictionary, Known, Shelf, shipped
from beira.sync.dictionaries import metrics
from beira.sync.dictionaries.training import Request, trial

log = structlog.get_logger(__name__)
KEPT_MARK = "dictionary:"
DATA_MARK = "dictionary.data:"
LOOK_EVERY_S = 600.0
FRESH_S = 300.0
"""How long another replica may not know of a new dictionary."""
Key = tuple[str, str]
"""A tenant and one of its sites."""


class Kept(msgspec.Struct):
    """What `dictionary:<site>` says: the newest first, and when one was last tried."""

    tried_ms: int = 0
    dictionaries: list[Offered] = []


class Reservoir:
    """A random part of all that is put in: at most `most` messages of `most_bytes` together."""

    def __init__(self, chance: random.Random, most: int, most_bytes: int) -> None:
        self.messages: list[bytes] = []
        self.size_bytes = 0
        self._chance, self._most, self._most_bytes = chance, most, most_bytes
        self._seen = 0

    def has_place(self) -> bool:
        """Count one more; whether it is among those to be put in."""
        self._seen += 1
        return self._chance.randrange(self._seen) < self._most

    def put(self, plain: bytes) -> None:
        if len(self.messages) >= self._most:
            self._drop()
        while self.messages and self.size_bytes + len(plain) > self._most_bytes:
            self._drop()
        self.messages.append(plain)
        self.size_bytes += len(plain)

    def _drop(self) -> None:
        at = self._chance.randrange(len(self.messages))
        self.messages[at], self.messages[-1] = self.messages[-1], self.messages[at]
        self.size_bytes -= len(self.messages.pop())


@dataclass
class Sample:
    """What a site's nodes said and heard: some to train on, without what is personal in it, and some
    to judge by, as they were (these end with the trial). `changes` counts batches of rows."""

    began_s: float
    training: Reservoir
    held_out: Reservoir
    seen: int = 0
    changes: int = 0


class Samples:
    """Of a few sites at a time."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self.sites: OrderedDict[Key, Sample] = OrderedDict()
        self._chance = chance or random.Random()  # noqa: S311

    def heard(self, key: Key, registry: Registry, known: Known, messages: Sequence[Wire]) -> None:
        """A small frame passed. It is kept in the form it had."""
        sample = self.sites.get(key) or self._begin(key)
        if sample is None:
            return
        sample.seen += 1
        sample.changes += any(isinstance(message, Push | Feed) for message in messages)
        if is_held_out(sample.seen):
            if sample.held_out.has_place():
                sample.held_out.put(known.plain(messages))
        elif sample.training.has_place():
            kept = [m for m in (harmless(m, registry, key[1]) for m in messages) if m is not None]
            if kept:
                sample.training.put(known.plain(kept))

    def _begin(self, key: Key) -> Sample | None:
        now_s = time.monotonic()
        if len(self.sites) >= limits.DICTIONARY_SITES:
            oldest = next(iter(self.sites))
            if now_s - self.sites[oldest].began_s < limits.DICTIONARY_EVERY_S:
                return None
            del self.sites[oldest]
        judged, judged_bytes = (
            limits.DICTIONARY_SAMPLES // HELD_OUT,
            limits.DICTIONARY_SAMPLE_BYTES // HELD_OUT,
        )
        self.sites[key] = Sample(
            now_s,
            Reservoir(
                self._chance,
                limits.DICTIONARY_SAMPLES - judged,
                limits.DICTIONARY_SAMPLE_BYTES - judged_bytes,
            ),
            Reservoir(self._chance, judged, judged_bytes),
        )
        return self.sites[key]


class SiteShelf(Shelf):
    """A site's dictionaries, for one connection of one of its nodes."""

    def __init__(
        self, held: dict[int, Dictionary], heard: Callable[[Known, Sequence[Wire]], None]
    ) -> None:
        self.held = held
        self.offer = held[max(held)].offered if held else None
        self._heard = heard

    def heard(self, known: Known, messages: Sequence[Wire]) -> None:
        self._heard(known, messages)


class CloudDictionaries:
    """One replica's. `host_of` gives a tenant's host."""

    def __init__(self, host_of: Callable[[str], Awaitable[Host]]) -> None:
        self.samples = Samples()
        self._host_of = host_of
        self._kept: OrderedDict[str, tuple[float, dict[str, Kept]]] = OrderedDict()
        self._read: OrderedDict[tuple[Key, int, str], Dictionary] = OrderedDict()

    async def of(self, node: Principal) -> Shelf:
        """What a node's connection is served with. Without a database to ask: nothing of its own."""
        site = _site(node)
        if not site:
            return Shelf()
        key = (node.tenant, site)
        held: dict[int, Dictionary] = {}
        try:
            registry = (await self._host_of(node.tenant)).store.registry
            for offer in (await self._known(key)).dictionaries:
                held[offer.number] = await self._dictionary(key, offer)
        except BeiraError as error:
            log.info("dictionary.unread", tenant=node.tenant, site=site, why=error.message)
            return Shelf()
        return SiteShelf(held, lambda k, m: self.samples.heard(key, registry, k, m))

    async def get(self, node: Principal, number: int) -> bytes:
        """A dictionary of the node's own site. Raises NotFound `dictionary.missing`."""
        key = (node.tenant, _site(node))
        for offer in (await self._known(key)).dictionaries:
            if offer.number == number:
                return (await self._dictionary(key, offer)).data
        raise _missing(number)

    async def run(self) -> None:
        """Look now and then whether a site is due."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Try a new dictionary for each site that is due, one after the other."""
        for key in list(self.samples.sites):
            try:
                await self._look_at(key)
            except Conflict:
                log.info("dictionary.elsewhere", tenant=key[0], site=key[1])
            except BeiraError as error:
                metrics.TRIALS.labels("failed").inc()
                log.warning("dictionary.failed", tenant=key[0], site=key[1], why=error.message)

    async def _look_at(self, key: Key) -> None:
        sample = self.samples.sites[key]
        if sample.changes < limits.DICTIONARY_CHANGES_LEAST:
            return
        store = (await self._host_of(key[0])).store
        name = KEPT_MARK + key[1]
        found = (await store.marks(name)).get(name)
        kept = _kept(found)
        now_ms = (await self._host_of(key[0])).wall.now_ms()
        del self.samples.sites[key]
        if not is_due(now_ms, kept.tried_ms or None, sample.changes):
            return
        claimed = msgspec.structs.replace(kept, tried_ms=now_ms)
        claim: Value = msgspec.to_builtins(claimed)
        await store.commit([], marks={name: claim}, expect={name: found})
        made = await self._tried(key, claimed, sample)
        if made is not None:
            await self._keep(key, claimed, made)

    async def _tried(self, key: Key, kept: Kept, sample: Sample) -> Dictionary | None:
        in_use = await self._in_use(key, kept)
        number = max([FIRST_OWN - 1, *(one.number for one in kept.dictionaries)]) + 1
        asked = Request(
            training=sample.training.messages,
            held_out=sample.held_out.messages,
            in_use=in_use.whole,
            base=shipped().data,
            number=number,
            size_bytes=limits.DICTIONARY_BYTES,
        )
        found = await trial(asked)
        metrics.TRIAL_BYTES.labels("in_use").inc(found.in_use_bytes)
        metrics.TRIAL_BYTES.labels("new").inc(found.new_bytes)
        worth = is_worth(found.in_use_bytes, found.new_bytes)
        metrics.TRIALS.labels("kept" if worth else "not_worth").inc()
        log.info(
            "dictionary.tried",
            tenant=key[0],
            site=key[1],
            number=number,
            kept=worth,
            in_use_bytes=found.in_use_bytes,
            new_bytes=found.new_bytes,
        )
        return Dictionary(number, found.dictionary) if worth else None

    async def _in_use(self, key: Key, kept: Kept) -> Dictionary:
        with suppress(NotFound):
            for newest in kept.dictionaries[:1]:
                return await self._dictionary(key, newest)
        return shipped()

    async def _keep(self, key: Key, kept: Kept, made: Dictionary) -> None:
        name, data = KEPT_MARK + key[1], f"{DATA_MARK}{key[1]}:"
        all_of_them = [made.offered, *kept.dictionaries]
        there = Kept(kept.tried_ms, all_of_them[: limits.DICTIONARIES_KEPT])
        marks: dict[str, Value] = {name: msgspec.to_builtins(there)}
        marks |= {f"{data}{old.number}": None for old in all_of_them[limits.DICTIONARIES_KEPT :]}
        marks[f"{data}{made.number}"] = base64.b64encode(made.data).decode()
        store = (await self._host_of(key[0])).store
        await store.commit([], marks=marks, expect={name: msgspec.to_builtins(kept)})
        self._kept.pop(key[0], None)

    async def _known(self, key: Key) -> Kept:
        """What a site has. While it is looked up anew, others are answered as before."""
        tenant, site = key
        until_s, sites = self._kept.get(tenant, (0.0, {}))
        if time.monotonic() >= until_s:
            self._kept[tenant] = (time.monotonic() + FRESH_S, sites)
            self._kept.move_to_end(tenant)
            try:
                marks = await (await self._host_of(tenant)).store.marks(KEPT_MARK)
            except BeiraError:
                self._kept.pop(tenant, None)
                raise
            sites = {name.removeprefix(KEPT_MARK): _kept(value) for name, value in marks.items()}
            self._kept[tenant] = (time.monotonic() + FRESH_S, sites)
            _bound(self._kept)
        return sites.get(site) or Kept()

    async def _dictionary(self, key: Key, offer: Offered) -> Dictionary:
        """Raises NotFound `dictionary.missing` if it is not there as it was made."""
        held = (key, offer.number, offer.sha256)
        if held not in self._read:
            name = f"{DATA_MARK}{key[1]}:{offer.number}"
            store = (await self._host_of(key[0])).store
            value = (await store.marks(name)).get(name)
            made = _decoded(offer.number, value)
            if made is None or made.sha256 != offer.sha256:
                raise _missing(offer.number)
            self._read[held] = made
            _bound(self._read)
        self._read.move_to_end(held)
        return self._read[held]


def _site(node: Principal) -> str:
    return next(iter(node.sites or ()), "")


def _kept(value: Value) -> Kept:
    try:
        return msgspec.convert(value or {}, Kept)
    except msgspec.ValidationError:
        return Kept()


def _decoded(number: int, value: Value) -> Dictionary | None:
    try:
        return Dictionary(number, base64.b64decode(value, validate=True))
    except (TypeError, binascii.Error):
        return None


def _bound(cache: OrderedDict[object, object] | OrderedDict) -> None:  # type: ignore[type-arg]
    while len(cache) > limits.DICTIONARIES_CACHED:
        cache.popitem(last=False)


def _missing(number: int) -> BeiraError:
    return NotFound(
        f"This node's site has no dictionary {number}.",
        code="dictionary.missing",
        hint="The next welcome says which there is; without one all works as before.",
    )
