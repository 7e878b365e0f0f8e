"""A company's pages show nothing of another's, and text stays text wherever it is shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.unit.portal.test_pages import PAGES
from tests.unit.portal.world import BAD, Browser, World, alert, fill, quarantined

from beira.kernel.access import Kind, Principal
from beira.kernel.errors import TooMany
from beira.portal.live import STREAMS_PER_PERSON, Live


async def test_no_page_shows_another_companys_data(portal_world: World) -> None:
    async with portal_world.browser() as other:
        await other.sign_in(portal_world.emails["other"])
        for path in PAGES:
            text = await other.get(path)
            assert "Angeloni" not in text.replace("dona@angeloni", ""), path
            assert "João da Silva" not in text, path
            assert "registrar ponto do João<" not in text, path
        for path in (
            "/products/product-1", "/people/person-1", "/punches/person/person-1",
            "/punches/angeloni-1-0-0/correct", f"/nodes/{portal_world.nodes['angeloni-1']}",
            "/settings/voice?for=site:angeloni-1",
        ):  # fmt: skip
            await other.get(path)
            assert other.status in (400, 404), path


async def test_nothing_of_another_company_can_be_changed(portal_world: World) -> None:
    node = portal_world.nodes["angeloni-1"]
    host = await portal_world.host()
    await portal_world.write(host, [(alert("info"), "site:angeloni-1")])
    waiting = (await host.store.marks(""), await _alerts(portal_world))
    async with portal_world.browser() as other:
        await other.sign_in(portal_world.emails["other"])
        for path, fields in (
            ("/products/product-1", {"name": "Roubado"}),
            ("/people/person-1", {"name": "Roubado"}),
            ("/punches/angeloni-1-0-0/correct", {"at": "2026-11-20T08:00", "kind": "in"}),
            (f"/nodes/{node}/revoke", {}),
            (f"/nodes/{node}/call", {"command": "tell_time"}),
            ("/sites/angeloni-1", {"name": "Roubado"}),
            (f"/alerts/{waiting[1][0]}/seen", {}),
            ("/settings/voice", {"for": "site:angeloni-1", "p.wake_word": "x"}),
            ("/nodes/new", {"site": "angeloni-1"}),
        ):
            await other.post(path, **fields)
            assert other.status in (400, 403, 404), (path, other.status)
    assert await _alerts(portal_world) == waiting[1]


async def test_a_member_of_one_site_sees_and_changes_that_site_only(portal_world: World) -> None:
    async with portal_world.browser() as clerk:
        await clerk.sign_in(portal_world.emails["clerk"])
        text = await clerk.get("/")
        assert "Angeloni 2" in text or "Vendas" in text
        for path in ("/", "/nodes", "/interactions", "/sales", "/alerts?which=all"):
            assert "Angeloni 1" not in await clerk.get(path), path
        await clerk.get(f"/nodes/{portal_world.nodes['angeloni-1']}")
        assert clerk.status == 404
        text = await clerk.get("/sales/list?site=angeloni-1")
        assert "Angeloni 1" not in text


async def test_a_member_of_one_site_sees_how_its_nodes_are(portal_world: World) -> None:
    """What nodes tell lies in partitions of their own."""
    await fill(portal_world)
    async with portal_world.browser() as clerk:
        await clerk.sign_in(portal_world.emails["clerk"])
        text = await clerk.get(f"/nodes/{portal_world.nodes['angeloni-2']}")
        assert "há 23 min" in text and "ainda não" not in text


async def test_text_stays_text_in_every_field(portal_world: World) -> None:
    await fill(portal_world, marked=BAD, tenant="bistek")
    host = await portal_world.host("bistek")
    node = portal_world.nodes["bistek-1"]
    await portal_world.write(host, [(alert("critical", BAD), "site:bistek-1")])
    await portal_world.write(host, [(quarantined(node, BAD), "tenant")])
    async with portal_world.browser() as other:
        await other.sign_in(portal_world.emails["other"])
        await other.post("/account/name", name=BAD[:48])
        seen = 0
        for path in (
            *PAGES,
            f"/nodes/{node}",
            "/products?q=" + "%3Cscript%3E%22%27",
            "/alerts/banner",
        ):
            text = await other.get(path)
            assert "<script>window" not in text, path
            assert "<img" not in text, path
            assert "49" not in text.split("{{7*7}}")[0][-3:], path
            seen += "&lt;script&gt;" in text
        assert seen > 10


async def test_a_spreadsheet_gets_no_formulas(portal_world: World) -> None:
    host = await portal_world.host("bistek")
    from beira.apps.voice.records import Punch

    now = host.now()
    punch = Punch(person="sheet", employee='=HYPERLINK("http://x")', kind="in", at=now, said_at=now)
    await portal_world.write(host, [(punch, "site:bistek-1")])
    async with portal_world.browser() as other:
        await other.sign_in(portal_world.emails["other"])
        text = await other.get("/punches.csv")
        assert ";\"'=HYPERLINK" in text
        assert other.headers["Content-Disposition"].startswith("attachment")


async def listened(browser: Browser, world: World, until: str, seconds: float = 5) -> list[str]:
    """Names heard on the live stream up to `until`, or all heard in the time given."""
    heard: list[str] = []
    try:
        async with asyncio.timeout(seconds), browser.session.get(world.url + "/live") as answer:
            assert answer.status == 200
            async for line in answer.content:
                if line.startswith(b"data: "):
                    heard.append(line[6:].decode().strip())
                if heard and heard[-1] == until:
                    break
    except TimeoutError:
        pass
    return heard


async def test_open_pages_hear_of_their_own_company_only(
    portal_world: World, owner: Browser
) -> None:
    async with portal_world.browser() as other:
        await other.sign_in(portal_world.emails["other"])
        mine = asyncio.create_task(listened(owner, portal_world, "alerts"))
        theirs = asyncio.create_task(listened(other, portal_world, "alerts", 1.5))
        await asyncio.sleep(0.5)
        await portal_world.write(await portal_world.host(), [(alert("info"), "site:angeloni-1")])
        assert (await mine)[-1] == "alerts"
        assert await theirs == ["up"]


async def test_open_pages_hear_of_their_own_sites_and_rights_only(portal_world: World) -> None:
    async with portal_world.browser() as clerk:
        await clerk.sign_in(portal_world.emails["clerk"])
        heard = asyncio.create_task(listened(clerk, portal_world, "alerts", 2.0))
        await asyncio.sleep(0.5)
        await portal_world.write(await portal_world.host(), [(alert("info"), "site:angeloni-1")])
        assert await heard == ["up"]


async def test_a_stream_ends_when_its_session_is_ended(portal_world: World) -> None:
    async with portal_world.browser() as browser, portal_world.browser() as elsewhere:
        await browser.sign_in(portal_world.emails["member"])
        await elsewhere.sign_in(portal_world.emails["member"])
        heard = asyncio.create_task(listened(browser, portal_world, "-", 8))
        await asyncio.sleep(0.5)
        await elsewhere.post("/account/sessions/end")
        assert (await heard)[-1] == "-"


async def test_streams_end_when_the_program_stops(portal_world: World) -> None:
    host = await portal_world.host()
    who = Principal(kind=Kind.PERSON, id="p", tenant="angeloni", role="owner")
    live, stopping = Live(), asyncio.Event()
    ear = live.open(who, host)

    async def still() -> Principal:
        return who

    events = live.events(ear, expires_at=time.time() + 60, still=still, stopping=stopping)
    assert b"event: hello" in await anext(events)
    waiting = asyncio.ensure_future(anext(events, b"ended"))
    await asyncio.sleep(0)
    stopping.set()
    await asyncio.wait_for(waiting, 10)
    assert await asyncio.wait_for(anext(events, b"ended"), 10) == b"ended"
    await live.close()


async def test_nobody_opens_pages_without_end(portal_world: World) -> None:
    host = await portal_world.host()
    who = Principal(kind=Kind.PERSON, id="p", tenant="angeloni", role="owner")
    live = Live()

    async def still() -> Principal:
        return who

    def open_one() -> AsyncIterator[bytes]:
        ear = live.open(who, host)
        return live.events(ear, expires_at=time.time() + 60, still=still, stopping=None)

    opened = [open_one() for _ in range(STREAMS_PER_PERSON)]
    for events in opened:
        await anext(events)
    with pytest.raises(TooMany):
        live.open(who, host)
    await opened[0].aclose()
    live.open(who, host)
    await live.close()


async def test_nobody_listens_unseen(portal_world: World) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(portal_world.url + "/live") as answer,
    ):
        assert answer.status == 204


async def _alerts(world: World) -> list[str]:
    host = await world.host()
    from beira.kernel.query import Query, where

    page = await host.store.query(Query(collection="alerts", where=where(seen_by="")))
    return sorted(str(row["id"]) for row in page.rows)
