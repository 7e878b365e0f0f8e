# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""From the programme to each shop's manifest, its head and the answers to a node, by two replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.contract.postgres_fixture import (  # noqa: F401 (fixtures)
    postgres_directory,
    postgres_server,
)
from tests.unit.player.library_world import Replica, replicas, sha, until

from beira.apps.player.cloud import QUESTION_BYTES, Heads, answer_manifest
from beira.apps.player.compile import compiled, compiler_of
from beira.apps.player.manifest import (
    Answer,
    AssetEntry,
    Head,
    Manifest,
    PlaylistEntry,
    Question,
    ShopEntry,
    SignedHead,
    SlotEntry,
)
from beira.apps.player.records import (
    Asset,
    Campaign,
    ManifestHead,
    Playlist,
    Rendition,
    Slot,
)
from beira.apps.player.wire import opened, packed, unpacked
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import Corrupt, NotFound
from beira.kernel.system import Setting
from beira.store.postgres import EmbeddedPostgres


@pytest_asyncio.fixture(loop_scope="session")
async def pair(postgres_server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[list[Replica]]:
    async with replicas(postgres_server, tmp_path) as made:
        yield made


async def asset(replica: Replica, id: str, *, profile: str = "opus-64", **fields: Any) -> str:
    """A ready asset with its rendition; the rendition's file."""
    file = sha(f"{id} {profile}".encode())
    made = Asset(
        **{"id": id, "title": id.title(), "state": "ready", "master": sha(id.encode()), **fields}
    )
    rendition = Rendition(
        id=file, asset=id, profile=profile, file=file, size_bytes=5, duration_ms=1_000,
        made_at=replica.host.now(),
    )  # fmt: skip
    await replica.put(made, rendition)
    return file


async def programme(replica: Replica) -> None:
    """Two shops of a company; one of a group with its own list."""
    await replica.shop("n1", "s1", groups=("sul",))
    await replica.shop("n2", "s2", zone="America/Manaus")
    for name in ("a", "b", "c", "spot"):
        await asset(replica, name)
    await replica.put(
        Playlist(id="day", name="Dia", assets=["a", "b"]),
        Playlist(id="south", name="Sul", assets=["c", "b"]),
        Slot(id="all", playlist="day"),
        Slot(id="south", playlist="south", place="group:sul", begins="18:00", ends="22:00"),
        Campaign(id="promo", name="Promo", assets=["spot"], place="site:s2", every_tracks=5),
    )


def kinds(manifest: Manifest) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in manifest.entries:
        found.setdefault(type(entry).__name__, set()).add(entry.id)
    return found


async def test_a_shop_gets_what_concerns_it_and_nothing_else(pair: list[Replica]) -> None:
    one, two = pair
    await programme(one)
    first, second = await compiled(one.host, "n1"), await compiled(one.host, "n2")
    assert kinds(first) == {
        "AssetEntry": {"a", "b", "c"}, "PlaylistEntry": {"day", "south"},
        "SlotEntry": {"all", "south"}, "ShopEntry": {"shop"},
    }  # fmt: skip
    assert kinds(second) == {
        "AssetEntry": {"a", "b", "spot"}, "PlaylistEntry": {"day"}, "SlotEntry": {"all"},
        "CampaignEntry": {"promo"}, "ShopEntry": {"shop"},
    }  # fmt: skip
    (shop,) = [e for e in second.entries if isinstance(e, ShopEntry)]
    assert shop.zone == "America/Manaus"
    near = {e.id: e.nearness for e in first.entries if isinstance(e, SlotEntry)}
    assert near == {"all": 0, "south": 1}
    assert (await compiled(two.host, "n1")).root == first.root
    (theirs,) = [e for e in (await compiled(two.host, "n2")).entries if isinstance(e, ShopEntry)]
    assert theirs == shop, "one secret for all replicas"
    with pytest.raises(NotFound):
        await compiled(one.host, "n9")


@pytest.mark.parametrize(
    ("fields", "there"),
    [
        ({}, True),
        ({"recalled": True}, False),
        ({"state": "failed"}, True),
        ({"state": "working"}, True),
        ({"valid_until": "{-3}"}, False),
        ({"valid_until": "{1}"}, True),
        ({"licence_until": "{-3}", "valid_until": "{9}"}, False),
        ({"valid_from": "{5}"}, True),
        ({"valid_from": "{30}"}, False),
    ],
)
async def test_an_asset_is_in_it_while_it_may_be_heard_soon(
    pair: list[Replica], fields: dict[str, Any], there: bool
) -> None:
    one, _ = pair
    await programme(one)

    def day(text: Any) -> Any:
        if not (isinstance(text, str) and text.startswith("{")):
            return text
        return f"{one.host.now() + timedelta(days=int(text[1:-1])):%Y-%m-%dT%H:%M}"

    await asset(one, "a", **{name: day(value) for name, value in fields.items()})
    manifest = await compiled(one.host, "n1")
    assert ("a" in kinds(manifest)["AssetEntry"]) is there
    (playlist,) = [e for e in manifest.entries if isinstance(e, PlaylistEntry) and e.id == "day"]
    assert playlist.assets == (("a", "b") if there else ("b",))


async def test_each_change_is_in_the_next_manifest(pair: list[Replica]) -> None:
    one, two = pair
    await programme(one)
    compiler = compiler_of(two.host)

    async def shows(**wanted: set[str]) -> None:
        async def look() -> bool:
            found = kinds(await compiler.manifest("n1"))
            return all(found.get(kind, set()) == ids for kind, ids in wanted.items())

        await until(look)

    await shows(AssetEntry={"a", "b", "c"})
    async with one.host.writing() as ctx:
        ctx.patch(Asset, "b", recalled=True)
    await shows(AssetEntry={"a", "c"})
    async with one.host.writing() as ctx:
        ctx.delete(Slot, "south")
    await shows(AssetEntry={"a"}, SlotEntry={"all"})
    async with one.host.writing() as ctx:
        ctx.delete(Rendition, sha(b"a opus-64"))
    await shows(AssetEntry=set())
    await asset(one, "a", profile="he-aac-v2")
    await shows(AssetEntry=set())
    await one.put(Asset(id="a2", title="Not made yet", master=sha(b"a2")))
    await one.put(
        Setting(id="player@node:n1", app="player", values={"profile": "he-aac-v2"}),
        partition="node:n1",
    )
    await shows(AssetEntry={"a"})
    await one.put(
        Slot(id="far", playlist="south", first=(one.host.now() + timedelta(days=90)).date())
    )
    await shows(SlotEntry={"all"})
    await one.put(Campaign(id="off", name="x", assets=["c"], active=False))
    await shows(CampaignEntry=set())


async def heads(replica: Replica) -> dict[str, tuple[int, str]]:
    async with replica.host.writing() as ctx:
        return {head.id: (head.version, head.root) for head in await ctx.find(ManifestHead)}


async def test_shops_whose_manifest_changed_are_told_once_by_whichever_replica(
    pair: list[Replica],
) -> None:
    one, two = pair
    await programme(one)
    told = await asyncio.gather(*(Heads(r.host).settle() for r in (one, two, one, two)))
    assert sum(told) == 2
    first = await heads(one)
    assert {version for version, _ in first.values()} == {1}
    async with one.host.writing() as ctx:
        ctx.patch(Asset, "c", title="Another")

    async def told_of_it() -> bool:  # they hear of it a moment later
        await asyncio.gather(Heads(one.host).settle(), Heads(two.host).settle())
        return (await heads(one))["n1"][0] > 1

    await until(told_of_it)
    second = await heads(two)
    assert second["n2"] == first["n2"], "what does not concern a shop does not wake it"
    assert second["n1"][0] > 1
    row = await one.host.store.get("player_heads", "n1")
    assert row is not None
    assert row.partition == "node:n1"


async def asked(replica: Replica, node: str, question: Question) -> Answer:
    who = Principal(kind=Kind.NODE, id=node, tenant=replica.host.place.tenant)
    return unpacked(await answer_manifest(replica.host, who, packed(question)), Answer)


def head_of(replica: Replica, signed: SignedHead | None) -> Head:
    """Proven as a node does."""
    assert signed is not None
    return opened(replica.host, signed)


async def test_a_node_gets_only_what_it_lacks_signed_and_versioned(pair: list[Replica]) -> None:
    one, two = pair
    await programme(one)
    await Heads(one.host).settle()
    held = Manifest()
    answer = await asked(one, "n1", Question())
    assert answer.buckets == {}
    answer = await asked(two, "n1", Question(marks=held.marks))
    head = head_of(one, answer.signed)
    held = held.replaced(answer.buckets)
    assert (head.node, head.version, head.root) == ("n1", 1, held.root)
    assert await asked(one, "n1", Question(root=held.root, version=1)) == Answer()
    async with one.host.writing() as ctx:
        ctx.patch(Asset, "a", title="Outra")
    answer = await asked(two, "n1", Question(root=held.root, version=1, marks=held.marks))
    if answer.signed is None:  # that replica had not heard of it yet
        await asyncio.sleep(0.5)
        answer = await asked(two, "n1", Question(root=held.root, version=1, marks=held.marks))
    assert head_of(one, answer.signed).version == 2
    assert len(answer.buckets) == 1
    held = held.replaced(answer.buckets)
    assert held.root == (await compiled(one.host, "n1")).root


async def test_a_restored_cloud_gives_versions_beyond_what_nodes_have_seen(
    pair: list[Replica],
) -> None:
    one, _ = pair
    await programme(one)
    answer = await asked(one, "n1", Question(root="other", version=70, marks=b""))
    assert head_of(one, answer.signed).version == 71
    answer = await asked(one, "n1", Question(root="other", version=2**62))
    assert head_of(one, answer.signed).version == 2**53 + 1


async def test_no_change_costs_a_few_bytes_and_nonsense_is_refused(pair: list[Replica]) -> None:
    one, _ = pair
    await programme(one)
    root = (await compiled(one.host, "n1")).root
    await Heads(one.host).settle()
    who = Principal(kind=Kind.NODE, id="n1", tenant=one.host.place.tenant)
    body = packed(Question(root=root, version=1))
    assert len(body) + len(await answer_manifest(one.host, who, body)) < 150
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 27))
    for nonsense in (b"", b"x", body[:-3], bomb, zstandard.ZstdCompressor().compress(b"x")):
        with pytest.raises(Corrupt):
            unpacked(nonsense, Question, QUESTION_BYTES)


async def test_another_tenants_programme_is_not_there(
    postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with (
        replicas(postgres_server, tmp_path / "1", count=1) as (one,),
        replicas(postgres_server, tmp_path / "2", count=1) as (two,),
    ):
        await programme(one)
        await two.shop("n1", "s1")
        assert kinds(await compiled(two.host, "n1")) == {"ShopEntry": {"shop"}}
        keys = [
            [
                e.media_key
                for e in (await compiled(r.host, "n1")).entries
                if isinstance(e, ShopEntry)
            ]
            for r in (one, two)
        ]
        assert keys[0] != keys[1]


async def test_a_company_without_a_programme_is_told_nothing(pair: list[Replica]) -> None:
    one, _ = pair
    await one.shop("n1", "s1")
    await asset(one, "a")
    assert await Heads(one.host).settle() == 0
    await one.put(Playlist(id="p", name="P", assets=["a"]), Slot(id="s", playlist="p"))
    await until(lambda: Heads(one.host).settle())
    async with one.host.writing() as ctx:
        ctx.delete(Slot, "s")
    await until(lambda: Heads(one.host).settle())
    assert (await heads(one))["n1"][0] == 2


async def test_where_a_profile_is_not_made_yet_shops_get_the_other_one(pair: list[Replica]) -> None:
    one, _ = pair
    await programme(one)
    chosen = Setting(id="player@tenant", app="player", values={"profile": "he-aac-v2"})
    await one.put(chosen)
    other = await asset(one, "b", profile="he-aac-v2")

    async def look() -> bool:
        files = {
            e.id: e.file
            for e in (await compiled(one.host, "n1")).entries
            if isinstance(e, AssetEntry)
        }
        return files.get("b") == other and files.get("a") == sha(b"a opus-64")

    await until(look)
