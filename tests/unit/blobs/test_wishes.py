"""What an app wishes for: in its order, by plain HTTP from wherever it says, and only if it is right."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from tests.unit.blobs.world import (
    BlobNode,
    Note,
    Track,
    World,
    carried,
    content,
    put,
    sha,
    until,
)

from beira.blobs.port import BlobNews
from beira.kernel import limits
from beira.kernel.errors import Full
from beira.sync import put_off

FILES = [content(200_000, seed=n) for n in range(4)]
LARGE = content(3_000_000, seed=9)


@dataclass
class Media:
    """A cache of files, as a shop meets them: it may cut lines, garble, refuse or know no ranges."""

    files: dict[str, bytes]
    cut_after: int = 0
    garbles: bool = False
    ranges: bool = True
    status: int = 0
    sent_bytes: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    async def give(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        self.asked.append((name, request.headers["Range"]))
        assert request.headers["If-Range"] == f'"{name}"'
        assert "Authorization" not in request.headers
        data = self.files.get(name)
        if self.status or data is None:
            return web.Response(status=self.status or 404)
        if self.garbles:
            data = bytes([data[0] ^ 1]) + data[1:]
        if not self.ranges:
            return web.Response(body=data)
        begin, end = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
        part = data[begin : end + 1]
        told = f"bytes {begin}-{begin + len(part) - 1}/{len(data)}"
        answer = web.StreamResponse(status=206, headers={"Content-Range": told})
        answer.content_length = len(part)
        await answer.prepare(request)
        keep = part[: self.cut_after] if self.cut_after else part
        self.sent_bytes += len(keep)
        await answer.write(keep)
        if len(keep) < len(part):
            await asyncio.sleep(0.02)
            assert request.transport is not None
            request.transport.close()
        return answer

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Media]:
        app = web.Application()
        app.router.add_get("/media/{name}", self.give)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def source(self, name: str) -> list[str]:
        return [f"{self.url}/media/{name}"]


def media(*files: bytes, **more: object) -> Media:
    return Media({sha(data): data for data in files}, **more)  # type: ignore[arg-type]


async def knows(node: BlobNode, *files: bytes) -> None:
    """A record of the node alone names these, lazily."""
    await put(node.host, Track(id="all", extras=[sha(data) for data in files]))


async def test_wishes_come_in_their_order_from_where_the_app_says(world: World) -> None:
    node, heard = world.node(), list[BlobNews]()
    node.agent.subscribe(heard.append)
    async with media(*FILES).serving() as cdn, node.running():
        await knows(node, *FILES)
        node.agent.want("player", [sha(FILES[n]) for n in (2, 0, 3)], cdn.source)
        await until(lambda: len(heard) == 3)
        assert heard[2].sha256 == sha(FILES[3]), "two come side by side, the later one after them"
        assert {news.sha256 for news in heard} == {sha(FILES[n]) for n in (2, 0, 3)}
        assert {(news.what, news.size_bytes) for news in heard} == {("fetched", 200_000)}
        assert not node.agent.holds(sha(FILES[1])), "what nobody wishes is left there"
        node.agent.want("player", [sha(FILES[1])], cdn.source)
        await until(lambda: node.has(FILES[1]))


async def test_a_line_cut_over_and_over_costs_no_byte_twice(world: World) -> None:
    node = world.node()
    async with media(LARGE, cut_after=37_001).serving() as cdn, node.running():
        await knows(node, LARGE)
        node.agent.want("player", [sha(LARGE)], cdn.source)
        await until(lambda: node.has(LARGE))
    assert cdn.sent_bytes == len(LARGE)


@pytest.mark.parametrize("fault", ["away", "garbles", "refuses", "knows no ranges"])
async def test_a_cache_that_fails_is_passed_by(world: World, fault: str) -> None:
    node = world.node()
    bad = media(LARGE, garbles=fault == "garbles", ranges=fault != "knows no ranges",
                status=404 if fault == "refuses" else 0)  # fmt: skip
    async with bad.serving(), media(LARGE).serving() as cloud, node.running():
        await knows(node, LARGE)
        cache = "http://127.0.0.1:9" if fault == "away" else bad.url
        node.agent.want("player", [sha(LARGE)], lambda n: [f"{cache}/media/{n}", *cloud.source(n)])
        await until(lambda: node.has(LARGE))
        asked = len(bad.asked)
        assert cloud.sent_bytes <= len(LARGE)
    assert asked <= len(LARGE) // limits.BLOB_CHUNK_LEAST_BYTES + 1


async def test_what_is_wrong_everywhere_is_not_fetched_over_and_over(world: World) -> None:
    node = world.node()
    async with media(*FILES, garbles=True).serving() as cdn, node.running():
        await knows(node, *FILES)
        node.agent.want("player", [sha(data) for data in FILES], cdn.source)
        await until(lambda: all(node.agent._downloads.sources.waits(sha(d)) for d in FILES))
        spent = cdn.sent_bytes
        node.agent.want("player", [sha(data) for data in FILES], cdn.source)
        await asyncio.sleep(0.3)
        assert cdn.sent_bytes == spent <= sum(len(data) for data in FILES)
        assert not node.agent.ledger.held


async def test_a_full_disk_fetches_nothing_over_and_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = world.node()

    def full(*_: object) -> int:
        raise Full("full", code="blob.disk_full")

    async with media(LARGE).serving() as cdn, node.running():
        await knows(node, LARGE)
        monkeypatch.setattr(node.shelf.folder, "_append", full)
        node.agent.want("player", [sha(LARGE)], cdn.source)
        waiting = node.agent._downloads._off
        await until(lambda: not waiting.is_free(sha(LARGE)))
        await asyncio.sleep(0.2)
        assert len(cdn.asked) == 1
        monkeypatch.undo()
        monkeypatch.setattr(put_off, "AGAIN_S", 0.1)
        waiting.drop(sha(LARGE))
        await until(lambda: node.has(LARGE))


async def test_a_wish_takes_the_room_of_what_nobody_wishes(world: World) -> None:
    """The disk has room for two files: the first wishes lie there, whatever came before."""
    node = world.node(disk_bytes=500_000)
    async with media(*FILES).serving() as cdn, node.running():
        await knows(node, *FILES)
        names = [sha(data) for data in FILES]
        node.agent.want("player", names, cdn.source)
        await until(lambda: node.agent.ledger.held.keys() == set(names[:2]))
        await until(lambda: node.agent.state.no_room)
        node.agent.want("player", [names[3], names[1]], cdn.source)
        await until(lambda: node.agent.ledger.held.keys() == {names[3], names[1]})
        asked = len(cdn.asked)
        await asyncio.sleep(0.2)
        assert len(cdn.asked) == asked, "and it comes to rest"


async def test_an_app_throws_away_only_what_the_cloud_can_give_again(world: World) -> None:
    node = world.node()
    async with media(*FILES).serving() as cdn, node.running():
        await knows(node, *FILES)
        node.agent.want("player", [sha(FILES[0])], cdn.source)
        await until(lambda: node.has(FILES[0]))
        mine = await node.agent.add(FILES[1])
        await put(node.host, Note(audio=mine.sha256))
        node.agent.want("player", [], cdn.source)
        assert await node.agent.drop(sha(FILES[0])) and not await node.has(FILES[0])
        assert not await node.agent.drop(mine.sha256) and await node.has(FILES[1])
        await world.keeps(FILES[2])
        await put(world.cloud(), Track(id="eager", audio=sha(FILES[2])))
        await carried(world.cloud(), node.host, Track(id="eager"))
        await until(lambda: node.has(FILES[2]))
        assert not await node.agent.drop(sha(FILES[2]))


async def test_what_has_rotten_is_found_and_fetched_again(world: World) -> None:
    node, heard = world.node(), list[BlobNews]()
    name = sha(FILES[0])
    async with media(*FILES).serving() as cdn, node.running():
        await knows(node, *FILES)
        node.agent.want("player", [name], cdn.source)
        await until(lambda: node.has(FILES[0]))
        assert await node.agent.check(name)
        path = node.shelf.folder.path("acme", name)
        path.write_bytes(hashlib.sha256(b"rot").digest() * 100)
        node.agent.subscribe(heard.append)
        assert not await node.agent.check(name)
        assert [news.what for news in heard] == ["damaged"]
        await until(lambda: node.has(FILES[0]))
