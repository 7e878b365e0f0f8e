"""The player's half in the cloud: makes the library ready, tells shops that there is a new manifest, and
answers what they ask of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from beira.apps.player.compile import compiler_of, forget
from beira.apps.player.library.jobs import Jobs
from beira.apps.player.manifest import Answer, Head, Manifest, Question, answered
from beira.apps.player.records import Campaign, ManifestHead, Slot
from beira.apps.player.wire import packed, sealed, unpacked
from beira.sdk import (
    BeiraError,
    Conflict,
    Host,
    Order,
    Principal,
    Query,
    Unavailable,
    node_partition,
    where,
)

log = structlog.get_logger(__name__)
HEADS_MARK = "player.heads"
QUIET_S = 0.4
"""So long nothing changes before shops are told: what belongs together changes together."""
QUIET_MOST_S = 5.0
LOOK_S = 300.0
NEWS_S = 0.5
QUESTION_BYTES = 65_536
AGAIN_S = 5.0
AT_ONCE = 500
RACES = 50
VERSION_MOST = 2**53


@asynccontextmanager
async def cloud(host: Host) -> AsyncIterator[None]:
    """Work for one tenant while the context lasts, as every replica does."""
    tasks = [asyncio.create_task(Jobs(host).run()), asyncio.create_task(Heads(host).run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        forget(host)


async def answer_manifest(host: Host, node: Principal, body: bytes) -> bytes:
    """What a node's manifest is, as far as the node does not have it. Raises Corrupt `player.wire`,
    NotFound `player.node_unknown`."""
    question = unpacked(body, Question, QUESTION_BYTES)
    manifest = await _newest(host, node.id)
    if question.root == manifest.root:
        return packed(Answer())
    version = await Heads(host).version(node.id, manifest, question.version)
    head = Head(
        tenant=host.place.tenant,
        node=node.id,
        version=version,
        root=manifest.root,
        issued_at=host.now(),
    )
    answer = answered(manifest, sealed(host, head), question)
    return await asyncio.to_thread(packed, answer)


async def _newest(host: Host, node: str) -> Manifest:
    """A node's manifest. Where its head says another, we may not have heard yet of what another
    replica has: a moment later we have."""
    manifest = await compiler_of(host).manifest(node)
    row = await host.store.get("player_heads", node)
    if row is not None and row.fields.get("root") != manifest.root:
        await asyncio.sleep(NEWS_S)
        manifest = await compiler_of(host).manifest(node)
    return manifest


class Heads:
    """What each shop's manifest has come to, as records that tell the shops. Any number of replicas keep
    them: whoever writes expects the mark as it read it, so versions only go up."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._compiler = compiler_of(host)

    async def run(self) -> None:
        """Follow the programme until cancelled."""
        changed = self._compiler.snapshot.changed
        while True:
            changed.clear()
            try:
                await self.settle()
            except BeiraError as error:
                log.info("player.heads_wait", code=error.code, why=error.message)
                await asyncio.sleep(AGAIN_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await changed.wait()
            await self._quiet()

    async def settle(self) -> int:
        """Tell the shops whose manifest is another now; how many. A company that has never had a
        programme plays nothing, and its nodes are told nothing."""
        programme = self._compiler.snapshot
        await programme.refresh()
        if not (programme.of(Slot) or programme.of(Campaign) or await self._mark() is not None):
            return 0
        roots, told = await self._compiler.roots(), 0
        while batch := await self._write(roots):
            told += batch
        return told

    async def version(self, node: str, manifest: Manifest, known: int) -> int:
        """The version of what a node is just given: the head's if it is that, or else the next; never
        one that the node has seen (`known`): this database may be an older copy."""
        known = min(max(known, 0), VERSION_MOST)
        for _ in range(RACES):
            mark, heads = await self._read([node])
            version, root = heads.get(node, (0, ""))
            if root == manifest.root and version > known:
                return version
            version = max(version, known) + 1
            if await self._put({node: (version, manifest.root)}, mark):
                return version
        raise _busy()

    async def _write(self, roots: Mapping[str, str]) -> int:
        """A batch of what differs, if any."""
        for _ in range(RACES):
            mark, heads = await self._read(None)
            other = {n: root for n, root in roots.items() if heads.get(n, (0, ""))[1] != root}
            batch = dict(list(other.items())[:AT_ONCE])
            if not batch:
                return 0
            new = {n: (heads.get(n, (0, ""))[0] + 1, root) for n, root in batch.items()}
            if await self._put(new, mark):
                return len(batch)
        raise _busy()

    async def _put(self, heads: Mapping[str, tuple[int, str]], mark: int | None) -> bool:
        """Write them unless another replica wrote some meanwhile."""
        try:
            async with self._host.writing(
                marks={HEADS_MARK: (mark or 0) + 1}, expect={HEADS_MARK: mark}
            ) as ctx:
                for node, (version, root) in heads.items():
                    made = ManifestHead(id=node, version=version, root=root)
                    ctx.put(made, partition=node_partition(node))
        except Conflict as error:
            if error.code != "marks.moved":
                raise
            return False
        return True

    async def _read(self, nodes: list[str] | None) -> tuple[int | None, dict[str, tuple[int, str]]]:
        """The mark, and then the heads (of all nodes for None)."""
        store = self._host.store
        mark = await self._mark()
        heads: dict[str, tuple[int, str]] = {}
        after = ""
        while True:
            among = where(id__gt=after) if nodes is None else where(id__in=tuple(nodes))
            question = Query(
                collection="player_heads", where=among, order=(Order("id"),), limit=1_000
            )
            rows = (await store.query(question)).rows
            heads |= {str(row["id"]): (row["version"], row["root"]) for row in rows}
            if nodes is not None or len(rows) < question.limit:
                return mark, heads
            after = str(rows[-1]["id"])

    async def _mark(self) -> int | None:
        """Grows with each head that is written; None before the first."""
        return (await self._host.store.marks(HEADS_MARK)).get(HEADS_MARK)

    async def _quiet(self) -> None:
        """Wait until a while nothing has changed, but not for ever."""
        changed = self._compiler.snapshot.changed
        for _ in range(int(QUIET_MOST_S / QUIET_S)):
            changed.clear()
            await asyncio.sleep(QUIET_S)
            if not changed.is_set():
                return


def _busy() -> Unavailable:
    return Unavailable("Other replicas are always faster.", code="player.heads_busy")
