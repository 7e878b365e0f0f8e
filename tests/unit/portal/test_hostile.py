"""What nobody would type in good faith: every door answers it, none fails."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from tests.unit.portal.world import Browser, World
from yarl import URL

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
    "/punches/angeloni-1-1-0/correct": ("at", "kind", "reason"),
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


@pytest.mark.parametrize("address", ADDRESSES)
async def test_addresses(owner: Browser, address: str) -> None:
    for nasty in NASTY:
        typed = quote(nasty[:3_000], safe="")
        path = address.replace("{}", typed)
        async with owner.session.get(URL(owner.url + path, encoded=True)) as answer:
            assert answer.status < 500, (address, nasty[:20], await answer.text())


@pytest.mark.parametrize("path", FORMS)
async def test_forms(portal_world: World, owner: Browser, path: str) -> None:
    at = path.replace("{node}", portal_world.nodes["angeloni-1"])
    for field in FORMS[path]:
        for nasty in NASTY:
            fields = {"name": "n", "command": "register_punch", "p.employee": "x", field: nasty}
            await owner.post(at, **fields)
            assert owner.status < 500, (path, field, nasty[:20], owner.text[-1500:])


async def test_a_form_that_is_too_large(owner: Browser) -> None:
    await owner.post("/products/new", name="x" * 400_000)
    assert owner.status in (400, 413)


async def test_a_body_that_is_no_form(portal_world: World, owner: Browser) -> None:
    for kind in ("application/json", "multipart/form-data; boundary=x", "multipart/form-data", ""):
        async with owner.session.post(
            portal_world.url + "/products/new", data=b"{\x00", headers={"Content-Type": kind}
        ) as answer:
            assert answer.status in (400, 403), kind
