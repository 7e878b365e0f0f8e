# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""Assets through the jobs of two replicas: each once, whoever dies on the way, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.contract.postgres_fixture import (  # noqa: F401 (fixtures)
    postgres_directory,
    postgres_server,
)
from tests.unit.player.library_world import Replica, replicas, sha, until
from tests.unit.player.sounds import sound

from beira.apps.player.library import jobs as jobs_module
from beira.apps.player.library.jobs import MARK, Jobs
from beira.apps.player.library.problems import told
from beira.apps.player.records import Asset, Rendition
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import Misconfigured, Unavailable
from beira.kernel.system import Setting
from beira.store.postgres import EmbeddedPostgres


@pytest_asyncio.fixture(loop_scope="session")
async def pair(postgres_server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[list[Replica]]:
    async with replicas(postgres_server, tmp_path) as made:
        yield made


async def renditions(replica: Replica) -> list[Rendition]:
    async with replica.host.writing() as ctx:
        return await ctx.find(Rendition)


async def test_what_comes_in_is_made_ready_with_all_that_is_shown_of_it(
    pair: list[Replica],
) -> None:
    one, _ = pair
    data = sound("mp3", cover=True, title="Wave", artist="Tom Jobim")
    id = await one.add(data, "01_wave.mp3")
    assert (await one.asset(id)).title == "01 wave"
    assert await Jobs(one.host).step()
    asset = await one.asset(id)
    assert (asset.state, asset.progress, asset.problem) == ("ready", 100, "")
    assert (asset.title, asset.artist, asset.master) == ("Wave", "Tom Jobim", sha(data))
    assert abs(asset.duration_ms - 3_000) < 60
    assert asset.loudness_lufs is not None
    assert len(asset.waveform) == 200
    made = {rendition.profile: rendition for rendition in await renditions(one)}
    assert set(made) == {"opus-64", "cover"}
    assert made["cover"].file == asset.cover
    assert one.host.blobs is not None
    assert await one.host.blobs.size(made["opus-64"].file) == made["opus-64"].size_bytes
    assert not await Jobs(one.host).step(), "nothing is left to do"


async def test_the_same_content_is_told_and_not_doubled(pair: list[Replica]) -> None:
    one, two = pair
    data = sound("ogg")
    first = await one.add(data, "a.ogg")
    assert await two.add(data, "b.ogg") == first
    await Jobs(one.host).step()
    other = await one.add(sound("ogg", title="another name for it"), "c.ogg")
    await Jobs(one.host).step()
    twin = await one.asset(other)
    assert (twin.state, twin.problem.split()[0]) == ("failed", "player.same_sound")
    assert "igual" in told(twin.problem, "pt-BR")


async def test_what_cannot_be_decoded_says_why_keeps_its_master_and_can_be_tried_again(
    pair: list[Replica],
) -> None:
    one, _ = pair
    id = await one.add(b"no sound" * 100, "x.mp3")
    await Jobs(one.host).step()
    asset = await one.asset(id)
    assert (asset.state, asset.problem.split()[0]) == ("failed", "player.undecodable")
    assert one.host.blobs is not None
    assert await one.host.blobs.size(asset.master) == 800
    who = Principal(kind=Kind.SERVICE, id="test", tenant=one.host.place.tenant)
    receipt = await one.host.run("player_asset_retry", {"asset": id}, principal=who, door="test")
    assert receipt.ok
    assert (await one.asset(id)).state == "waiting"
    assert await Jobs(one.host).step()


async def test_two_replicas_do_each_asset_once(
    pair: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    ids = [await one.add(sound("wav", seconds=0.5 + n / 10)) for n in range(6)]
    done: list[str] = []
    real = jobs_module.made_ready

    async def noted(host: Any, asset: Asset, *more: Any) -> Any:
        done.append(asset.id)
        return await real(host, asset, *more)

    monkeypatch.setattr(jobs_module, "made_ready", noted)
    monkeypatch.setattr(jobs_module, "_turn", lambda: asyncio.Semaphore(1))
    workers = [asyncio.create_task(Jobs(r.host, look_s=0.2).run()) for r in (one, two)]
    try:

        async def ready() -> bool:
            return all([(await one.asset(id)).state == "ready" for id in ids])

        await until(ready)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    assert sorted(done) == sorted(ids)
    marks = await one.host.store.marks(MARK)
    assert marks[MARK]["held"] == {}


async def test_what_a_killed_replica_had_begun_is_done_by_another_and_it_changes_nothing_any_more(
    pair: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    id = await one.add(sound("flac"))
    slow = asyncio.Event()
    real = jobs_module.made_ready

    async def stuck(host: Any, *more: Any) -> Any:
        ready = await real(host, *more)
        if host is one.host:
            await slow.wait()
            ready.fields["title"] = "by the dead"
        return ready

    monkeypatch.setattr(jobs_module, "made_ready", stuck)
    monkeypatch.setattr(jobs_module.Jobs, "_keep", lambda *_: asyncio.sleep(3_600))
    monkeypatch.setattr(jobs_module, "_turn", lambda: asyncio.Semaphore(1))
    dead = asyncio.create_task(Jobs(one.host, lease_s=1.0).step())
    await until(lambda: _is(one, id, "working"))
    heir = Jobs(two.host, lease_s=1.0)
    await until(heir.step)
    assert (await two.asset(id)).state == "ready"
    slow.set()
    assert await dead
    assert (await two.asset(id)).title != "by the dead"


async def _is(replica: Replica, id: str, state: str) -> bool:
    return (await replica.asset(id)).state == state


async def test_a_file_over_which_the_program_dies_each_time_is_given_up(
    pair: list[Replica],
) -> None:
    one, _ = pair
    id = await one.add(sound("wav"))
    jobs = Jobs(one.host, lease_s=0.01)
    for _ in range(jobs_module.TRIES):
        assert await jobs._take() is not None
        await asyncio.sleep(0.05)
    assert await jobs._take() is None
    asset = await one.asset(id)
    assert (asset.state, asset.problem.split()[0]) == ("failed", "player.crashed")


async def test_while_what_it_needs_is_away_it_waits(
    pair: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    id = await one.add(sound("wav"))

    async def away(*_: Any) -> Any:
        raise Unavailable("The storage is away.")

    with monkeypatch.context() as patch:
        patch.setattr(jobs_module, "made_ready", away)
        with pytest.raises(Unavailable):
            await Jobs(one.host).step()
    assert (await one.asset(id)).state == "waiting"

    def missing() -> str:
        raise Misconfigured("no ffmpeg", code="player.ffmpeg")

    with monkeypatch.context() as patch:
        patch.setattr("beira.apps.player.library.ffmpeg.found", missing)
        with pytest.raises(Misconfigured):
            await Jobs(one.host).step()
    assert (await one.asset(id)).state == "waiting"
    assert await Jobs(one.host).step()


async def test_another_target_makes_another_file_and_the_old_one_goes(pair: list[Replica]) -> None:
    one, _ = pair
    id = await one.add(sound("mp3"))
    await Jobs(one.host).step()
    (before,) = await renditions(one)
    await one.put(Setting(id="player@tenant", app="player", values={"target_lufs": -23.0}))
    jobs = Jobs(one.host)
    assert await jobs.step(), "it is called back"
    assert (await one.asset(id)).state == "waiting"
    assert [made.id for made in await renditions(one)] == [before.id], "shops go on with that"
    assert await jobs.step()
    (after,) = await renditions(one)
    assert after.id != before.id
    assert not await jobs.step() and (await one.asset(id)).made_by == "-23 LUFS: opus-64"
    who = Principal(kind=Kind.SERVICE, id="test", tenant=one.host.place.tenant)
    receipt = await one.host.run("player_asset_remove", {"asset": id}, principal=who, door="test")
    assert receipt.ok
    assert await renditions(one) == []


async def test_people_add_only_what_they_sent(pair: list[Replica]) -> None:
    one, _ = pair
    assert one.host.blobs is not None
    ref = await one.host.blobs.add(sound("wav"))
    who = Principal(
        kind=Kind.PERSON, id="p", tenant=one.host.place.tenant, name="Ana", role="member"
    )
    params = {"upload": "none", "name": "a.wav", "sha256": ref.sha256, "size_bytes": 1}
    receipt = await one.host.run("player_asset_added", params, principal=who, door="api")
    assert (receipt.ok, receipt.code) == (False, "player.not_sent")
