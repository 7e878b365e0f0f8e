# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A real cloud, a real node as a program of its own, a real mpv: what the director allows is heard, also
with no network at all, and what was heard is written down even if the power fails."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beira.apps.player.records import Asset, Playlist, Rendition, Slot, UrgentAnnouncement
from beira.host import Host
from beira.sdk import Query
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    Program,
    company,
    free_port,
    postgres_directory,
    postgres_server,
    program,
    put,
    row_of,
    until,
)
from tests.acceptance.test_player_sound import tone

pytestmark = [
    pytest.mark.skipif(
        shutil.which("mpv") is None, reason="mpv is not installed (apt install mpv)"
    ),
    pytest.mark.timeout(300),
]
NOWHERE = "http://127.0.0.1:9"


async def rendition(host: Host, name: str, wav: bytes, ms: int, title: str = "") -> str:
    """A track of the library, ready for shops: its file."""
    assert host.blobs is not None
    file = (await host.blobs.add(wav)).sha256
    await put(host, Asset(id=name, title=title or name, artist="Elis", state="ready",
                          duration_ms=ms))  # fmt: skip
    await put(host, Rendition(id=file, asset=name, profile="opus-64", file=file, made_at=host.now(),
                              size_bytes=len(wav), duration_ms=ms))  # fmt: skip
    return file


async def library(host: Host) -> None:
    """Two tracks that play all day long."""
    for name, hz in (("alpha", 440.0), ("beta", 660.0)):
        await rendition(host, name, tone(12_000, hz), 12_000)
    await put(host, Playlist(id="all", name="Tudo", assets=["alpha", "beta"], no_repeat=0))
    await put(host, Slot(id="always", playlist="all"))


def node_run(folder: Path, log: Path, cloud: str) -> Any:
    """The node's program, with its sound into nothing."""
    environment = {**os.environ, "BEIRA_PLAYER_OUTPUT": "null"}
    arguments = ["node", "run", "--data", str(folder), "--port", str(free_port())]
    return program(log, *arguments, "--cloud", cloud, "--app", "player", env=environment)


def players_of(pid: int) -> list[int]:
    """The mpvs that a program has started."""
    found = []
    for one in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = (one / "stat").read_text().rsplit(")", 1)[1].split()
            name = (one / "comm").read_text().strip()
            if name == "mpv" and int(words[1]) == pid and words[0] != "Z":
                found.append(int(one.name))
    return found


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


@contextlib.contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    found = sqlite3.connect(f"file:{folder / 'node.db'}?mode=ro", uri=True, timeout=10)
    found.row_factory = sqlite3.Row
    try:
        yield found
    finally:
        found.close()


def plays(folder: Path) -> list[sqlite3.Row]:
    with database(folder) as db:
        return db.execute("select * from player_plays order by at").fetchall()


def title_now(folder: Path) -> str:
    with database(folder) as db:
        row = db.execute("select title, since from player_now").fetchone()
    return f"{row['title']} {row['since']}" if row else ""


async def test_from_the_library_to_the_shop_and_on_without_any_network(
    company: Company, tmp_path: Path
) -> None:
    tenant = await company.tenant("loja")
    host, folder = await company.host(tenant), await company.enrol(tenant)
    await library(host)
    log = tmp_path / "node.log"
    node = (await _only_node(host))["id"]

    async with node_run(folder, log, company.address) as shop:
        assert isinstance(shop, Program)
        await row_of(host.store, "player_now", node, artist="Elis", problem="")
        now = await host.store.get("player_now", node)
        assert now is not None and now.fields["version"] >= 1
        fetched = await _rows(host, "player_fetches")
        assert {row["title"] for row in fetched} == {"alpha", "beta"}

        await put(host, await _urgent(host))
        await until(lambda: _played(host, "Carro com farol aceso"), shop.said()[-3_000:])

        first = title_now(folder)
        await until(lambda: players_of(shop.pid))
        players = players_of(shop.pid)
        shop.kill()
        await until(lambda: not any(alive(pid) for pid in players), "no shop hears two players")
        before = plays(folder)

        log.write_text("")
        async with node_run(folder, log, NOWHERE) as again:
            await until(lambda: title_now(folder) not in ("", first), again.said()[-3_000:])
            await until(lambda: len(plays(folder)) > len(before) + 1, again.said()[-3_000:])
    written = plays(folder)
    cut = [row for row in written if row["outcome"] == "cut" and row["artist"] == "Elis"]
    assert cut, "what had begun when the power failed"
    assert len({row["id"] for row in written}) == len(written)
    assert all(0 <= row["played_ms"] <= row["duration_ms"] + 1_000 for row in written
               if row["kind"] == "music")  # fmt: skip


async def test_what_is_recalled_leaves_a_shop_at_once(company: Company, tmp_path: Path) -> None:
    tenant = await company.tenant("loja")
    host, folder = await company.host(tenant), await company.enrol(tenant)
    await library(host)
    node = (await _only_node(host))["id"]
    async with node_run(folder, tmp_path / "node.log", company.address) as shop:
        await row_of(host.store, "player_now", node, artist="Elis")
        await until(lambda: _both(host), shop.said()[-3_000:])
        async with host.writing() as ctx:
            ctx.patch(Asset, "alpha", recalled=True)

        async def gone() -> bool:
            rows = await _rows(host, "player_fetches")
            return any(r["title"] == "alpha" and r["kind"] == "removed" for r in rows)

        await until(gone, shop.said()[-3_000:])
        await row_of(host.store, "player_now", node, title="beta", next_title="beta")


async def _urgent(host: Host) -> UrgentAnnouncement:
    assert host.blobs is not None
    file = (await host.blobs.add(tone(900, 880.0))).sha256
    now = datetime.now(UTC)
    return UrgentAnnouncement(title="Carro com farol aceso", file=file, duration_ms=900, by="Ana",
                              at=now, expires_at=now + timedelta(minutes=15))  # fmt: skip


async def _only_node(host: Host) -> dict[str, Any]:
    (row,) = await _rows(host, "node_info")
    return row


async def _rows(host: Host, collection: str) -> list[dict[str, Any]]:
    return list((await host.store.query(Query(collection=collection))).rows)


async def _both(host: Host) -> bool:
    return len({row["title"] for row in await _rows(host, "player_fetches")}) == 2


async def _played(host: Host, title: str) -> bool:
    rows = await _rows(host, "player_plays")
    return any(row["title"] == title and row["outcome"] == "whole" for row in rows)
