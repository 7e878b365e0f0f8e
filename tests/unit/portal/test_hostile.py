"""What nobody would type in good faith: every door answers it, none fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio
from tests.unit.portal.world import Browser, World
from yarl import URL

from beira.apps.voice.records import Punch

NASTY = (
    "\x00",
    "a\x00b",
    "'; DROP TABLE people; --",
    "%",
    "\\",
    "\u202e",
    "x" * 20_000,
    "💥" * 200,
    "-1",
)
ADDRESSES = (
    "/products/{}", "/people/{}", "/nodes/{}", "/nodes/{}/status", "/punches/person/{}",
    "/punches/{}/correct", "/settings/{}", "/products?q={}", "/people?q={}", "/products?from={}",
    "/?site={}", "/interactions?site={}", "/interactions?from={}", "/punches?day={}",
    "/punches/person/person-0?month={}", "/punches.csv?day={}&until={}", "/sales?day={}",
    "/alerts?which={}", "/quarantine?from={}", "/settings/voice?for={}", "/nodes/new?site={}",
    "/?done={}", "/sign-in?next={}",
)  # fmt: skip
FORMS = {
    "/products/new": ("name", "price", "unit", "place", "barcode", "also_said"),
    "/people/new": ("name", "role", "site", "also_said"),
    "/punches/bistek-1-0-0/correct": ("at", "kind", "reason"),
    "/sites/add": ("name", "zone", "groups"),
    "/team/invite": ("email", "role", "site"),
    "/nodes/new": ("site", "name", "node"),
    "/nodes/{node}/call": ("command", "p.employee", "p.at"),
    "/nodes/{node}/rename": ("name",),
    "/settings/voice": ("for", "p.wake_word", "p.act_confidence", "p.questions_url"),
    "/account/name": ("name",),
    "/account/password": ("old", "new", "again"),
    "/account/totp/confirm": ("code",),
    "/account/sessions/end": ("session",),
    "/tenant": ("tenant",),
    "/look": ("language", "theme", "next"),
    "/join": ("code", "name", "password"),
}


@pytest_asyncio.fixture(loop_scope="session")
async def hostile(portal_world: World) -> AsyncIterator[Browser]:
    """An owner of the other company, whose books may be spoilt."""
    host = await portal_world.host("bistek")
    now = host.now()
    punch = Punch(id="bistek-1-0-0", person="p", employee="Zeca", kind="in", at=now, said_at=now)
    if await host.store.get("punches", punch.id) is None:
        await portal_world.write(host, [(punch, "site:bistek-1")])
    async with portal_world.browser() as browser:
        await browser.sign_in(portal_world.emails["other"])
        yield browser


@pytest.mark.parametrize("address", ADDRESSES)
async def test_addresses(hostile: Browser, address: str) -> None:
    for nasty in NASTY:
        typed = quote(nasty[:3_000], safe="")
        path = address.replace("{}", typed)
        async with hostile.session.get(URL(hostile.url + path, encoded=True)) as answer:
            assert answer.status < 500, (address, nasty[:20], await answer.text())


@pytest.mark.parametrize("path", FORMS)
async def test_forms(portal_world: World, hostile: Browser, path: str) -> None:
    at = path.replace("{node}", portal_world.nodes["bistek-1"])
    for field in FORMS[path]:
        for nasty in NASTY:
            fields = {"name": "n", "command": "register_punch", "p.employee": "x", field: nasty}
            await hostile.post(at, **fields)
            assert hostile.status < 500, (path, field, nasty[:20], hostile.text[-1500:])


async def test_a_form_that_is_too_large(hostile: Browser) -> None:
    await hostile.post("/products/new", name="x" * 400_000)
    assert hostile.status in (400, 413)


async def test_a_body_that_is_no_form(portal_world: World, hostile: Browser) -> None:
    for kind in ("application/json", "multipart/form-data; boundary=x", "multipart/form-data", ""):
        async with hostile.session.post(
            portal_world.url + "/products/new", data=b"{\x00", headers={"Content-Type": kind}
        ) as answer:
            assert answer.status in (400, 403), kind
