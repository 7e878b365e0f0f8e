"""Conflicts over real PostgreSQL: read and restored by who may, and kept from all others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.unit.portal.world import BAD, PASSWORD, Browser, World, alert, invite

from beira.apps.voice.records import Product
from beira.kernel.system import LostValue

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def lose(
    made: World, record: str, field: str, lost: object, kept: object, *, place: str = "tenant",
    collection: str = "products", lost_by: str = "",
) -> str:  # fmt: skip
    """Put a conflict where the gate puts it; its id."""
    host = await made.host()
    value = LostValue(
        in_collection=collection, record=record, place=place, field=field, lost=lost, kept=kept,
        lost_by=lost_by or made.nodes["angeloni-1"], lost_at=AT, kept_by=made.nodes["angeloni-2"],
        kept_at=AT, at=host.now(),
    )  # fmt: skip
    await made.write(host, [(value, place)])
    return value.id


async def bearer(made: World, who: str) -> dict[str, str]:
    async with made.browser() as browser:
        url = made.url + "/auth/v1/token?grant_type=password"
        body = {"email": made.emails[who], "password": PASSWORD}
        async with browser.session.post(url, json=body) as answer:
            assert answer.status == 200
            token = (await answer.json())["access_token"]
    return {"Authorization": f"Bearer {token}"}


async def test_a_value_is_restored_and_the_log_says_by_whom(
    portal_world: World, owner: Browser
) -> None:
    host = await portal_world.host()
    coffee = Product(id="coffee-x", name="Café especial", price_cents=2190, unit="un")
    await portal_world.write(host, [(coffee, "tenant")])
    id = await lose(portal_world, "coffee-x", "price_cents", 1990, 2190)
    page = await owner.get("/conflicts")
    assert "Produto: Café especial" in page
    assert "R$ 19,90" in page and "R$ 21,90" in page
    assert "Balcão Angeloni 1" in page and portal_world.nodes["angeloni-1"] not in page
    await owner.post(f"/conflicts/{id}/restore")
    assert "Restaurado: vale em todos os lugares" in owner.text
    row = await host.store.get("products", "coffee-x")
    assert row is not None
    assert (row.fields["price_cents"], row.fields["name"]) == (1990, "Café especial")
    assert id not in await owner.get("/conflicts")
    assert id in await owner.get("/conflicts?which=restored")
    assert "Restaurou um valor" in await owner.get("/team/audit")
    await owner.post(f"/conflicts/{id}/restore")
    assert owner.status == 409
    assert "Alguém já restaurou este valor" in owner.text


async def test_one_sites_members_neither_see_nor_restore_anothers(portal_world: World) -> None:
    """An attacker with a member's password of Angeloni 2 asks every door for Angeloni 1's."""
    host = await portal_world.host()
    mine, theirs = alert("warning", "mine"), alert("warning", "theirs")
    places = {"angeloni-2": mine, "angeloni-1": theirs}
    await portal_world.write(host, [(one, f"site:{site}") for site, one in places.items()])
    ids = {
        site: await lose(
            portal_world, one.id, "text", f"secret of {site}", "", place=f"site:{site}",
            collection="alerts",
        )
        for site, one in places.items()
    }  # fmt: skip
    async with portal_world.browser() as clerk:
        await clerk.sign_in(portal_world.emails["clerk"])
        for path in ("/conflicts", "/conflicts/list", "/conflicts?site=angeloni-1"):
            page = await clerk.get(path)
            assert "secret of angeloni-2" in page
            assert "secret of angeloni-1" not in page
        await clerk.post(f"/conflicts/{ids['angeloni-1']}/restore")
        assert clerk.status == 403
        assert "secret" not in clerk.text.replace("secret of angeloni-2", "")
        await clerk.post(f"/conflicts/{ids['angeloni-2']}/restore")
        assert "Restaurado" in clerk.text
        headers = await bearer(portal_world, "clerk")
        for query in ("", "?select=lost", f"?id=eq.{ids['angeloni-1']}", "?select=count()"):
            url = f"{portal_world.url}/rest/v1/conflicts{query}"
            async with clerk.session.get(url, headers=headers) as answer:
                assert answer.status == 403
                assert "secret" not in await answer.text()
    row = await host.store.get("alerts", theirs.id)
    assert row is not None and row.fields["text"] == theirs.text


@pytest.mark.parametrize("who", ["visitor-2", "other"])
async def test_guests_and_other_companies_see_none(portal_world: World, who: str) -> None:
    if who not in portal_world.emails:
        await invite(portal_world, "angeloni", who, "guest")
    id = await lose(portal_world, "product-0", "place", "Corredor secreto", "Padaria")
    async with portal_world.browser() as browser:
        await browser.sign_in(portal_world.emails[who])
        assert "secreto" not in await browser.get("/conflicts")
        await browser.post(f"/conflicts/{id}/restore")
        assert browser.status in (403, 404)
        headers = await bearer(portal_world, who)
        async with browser.session.get(
            portal_world.url + "/rest/v1/conflicts", headers=headers
        ) as answer:
            assert "secreto" not in await answer.text()


async def test_what_nodes_wrote_is_escaped_and_an_unknown_collection_harms_nothing(
    portal_world: World, owner: Browser
) -> None:
    await lose(portal_world, "product-1", "name", BAD, "Café", lost_by="n" + BAD)
    await lose(portal_world, "gone", "name", "x", "y", collection="things_of_another_app")
    page = await owner.get("/conflicts")
    assert owner.status == 200
    assert BAD not in page
    assert "things_of_another_app" not in page
