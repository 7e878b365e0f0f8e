"""What people do in the portal, and what becomes of it."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from tests.unit.portal.world import PASSWORD, Browser, World, alert

from beira.apps.voice.settings import VoiceSettings
from beira.identity.tenants import service
from beira.kernel.command import Receipt
from beira.kernel.query import Query, where


async def rows(world: World, collection: str, **filters: object) -> list[dict[str, object]]:
    host = await world.host()
    asked = where(**filters) if filters else None
    return (await host.store.query(Query(collection=collection, where=asked, limit=1000))).rows


async def test_a_product_is_added_changed_and_put_aside(
    portal_world: World, owner: Browser
) -> None:
    await owner.post(
        "/products/new",
        name="Queijo  minas",
        price="1.234,50",
        unit="kg",
        also_said="queijo\nminas",
    )
    assert "Adicionado" in owner.text
    made = (await rows(portal_world, "products", name="Queijo minas"))[0]
    assert (made["price_cents"], made["unit"]) == (123450, "kg")
    assert made["also_said"] == ["queijo", "minas"]
    await owner.post(f"/products/{made['id']}", name="Queijo prato", price="9,9", unit="kg")
    changed = (await rows(portal_world, "products", id=made["id"]))[0]
    assert (changed["name"], changed["price_cents"]) == ("Queijo prato", 990)
    await owner.post(f"/products/{made['id']}", active="no")
    assert "Queijo prato" not in await owner.get("/products/list?q=queijo")
    assert "Queijo prato" in await owner.get("/products/list?q=queijo&all=yes")
    await owner.post(f"/products/{made['id']}", active="yes")
    assert "Queijo prato" in await owner.get("/products/list?q=prato")


async def test_errors_stand_beside_their_fields_and_keep_what_was_typed(owner: Browser) -> None:
    text = await owner.post("/products/new", name="", price="caro", unit="kg", barcode="abc")
    assert owner.status == 400
    assert text.count('aria-invalid="true"') == 3
    for words in ("De 1 a 100 letras", "Escreva como 12,90", "Só números", 'value="caro"'):
        assert words in text
    text = await owner.post("/people/new", name="x" * 200)
    assert owner.status == 400
    assert 'aria-invalid="true"' in text


async def test_a_person_is_added_for_one_site(portal_world: World, owner: Browser) -> None:
    await owner.post("/people/new", name="Rita Alves", site="angeloni-2", role="Açougue")
    made = (await rows(portal_world, "people", name="Rita Alves"))[0]
    assert (made["site"], made["active"]) == ("angeloni-2", True)
    await owner.post("/people/new", name="Outra", site="bistek-1")
    assert owner.status == 400


async def test_an_owner_corrects_a_punch_and_the_hours_follow(
    portal_world: World, owner: Browser
) -> None:
    text = await owner.get("/punches/angeloni-1-0-4/correct")
    typed = re.search(r'name="at" type="datetime-local" value="([^"]+)"', text)
    assert typed is not None
    await owner.post("/punches/angeloni-1-0-4/correct", at="", kind="out")
    assert owner.status == 400
    await owner.post("/punches/angeloni-1-0-4/correct", at="2099-01-01T10:00", kind="out")
    assert "punch.future" in owner.text
    await owner.post(
        "/punches/angeloni-1-0-4/correct", at=typed[1], kind="in", reason="engano", void="yes"
    )
    assert "Ponto corrigido" in owner.text, owner.text[-2000:]
    fixes = await rows(portal_world, "punch_corrections", punch="angeloni-1-0-4")
    assert (fixes[0]["void"], fixes[0]["by"], fixes[0]["reason"]) == (
        True, "dona@angeloni.example", "engano",
    )  # fmt: skip
    assert "angeloni-1-0-4" not in await owner.get("/punches/list")
    assert "anulado" in await owner.get("/punches/angeloni-1-0-4/correct")


async def test_the_spreadsheet_has_the_day(portal_world: World, owner: Browser) -> None:
    """The day she came in, which is yesterday if midnight has passed since."""
    row = await (await portal_world.host()).store.get("punches", "angeloni-1-1-0")
    assert row is not None
    came = datetime.fromisoformat(row.fields["at"]).astimezone(ZoneInfo("America/Sao_Paulo"))
    text = await owner.get(f"/punches.csv?day={came.date()}")
    lines = text.lstrip("\ufeff").splitlines()
    assert lines[0] == "data;pessoa;hora;tipo;corrigido;horas do dia"
    assert any("Maria Souza" in line and ";entrada;" in line for line in lines)
    assert owner.headers["Content-Type"].startswith("text/csv")


async def test_an_alert_is_taken_note_of(portal_world: World, owner: Browser) -> None:
    await portal_world.write(await portal_world.host(), [(alert(), "site:angeloni-1")])
    assert 'role="alert"' in await owner.get("/alerts/banner")
    for row in await rows(portal_world, "alerts", seen_by=""):
        await owner.post(f"/alerts/{row['id']}/seen")
        assert "Anotado como visto" in owner.text
    assert 'role="alert"' not in await owner.get("/alerts/banner")
    assert "Visto por" in await owner.get("/alerts?which=all")


async def test_settings_are_kept_at_their_place_and_inherited(
    portal_world: World, owner: Browser
) -> None:
    await owner.post("/settings/voice", **{"for": "tenant", "p.closes_at": "20:00"})
    await owner.post(
        "/settings/voice",
        **{"for": "site:angeloni-1", "p.confirm_always": "true", "p.act_confidence": "0,97"},
    )
    assert "Salvo" in owner.text
    found = {str(r["id"]): r for r in await rows(portal_world, "settings")}
    assert found["voice@tenant"]["values"] == {"closes_at": "20:00"}
    site = found["voice@site:angeloni-1"]
    assert site["values"] == {"confirm_always": True, "act_confidence": 0.97}
    assert site["_partition"] == "site:angeloni-1"
    assert "herda: 20:00" in await owner.get("/settings/voice?for=site:angeloni-1")
    text = await owner.post("/settings/voice", **{"for": "tenant", "p.closes_at": "25:99"})
    assert owner.status == 400
    assert 'value="25:99"' in text
    await owner.post("/settings/voice", **{"for": "tenant", "p.closes_at": ""})
    host = await portal_world.host()
    assert (await host.settings(VoiceSettings)).closes_at == VoiceSettings().closes_at


async def test_a_command_goes_to_a_node_and_its_receipt_comes_back(
    portal_world: World, owner: Browser
) -> None:
    node = portal_world.nodes["angeloni-1"]
    await owner.post(f"/nodes/{node}/call", command="register_punch", **{"p.employee": ""})
    assert owner.status == 400
    await owner.post(
        f"/nodes/{node}/call",
        command="register_punch",
        **{"p.employee": "João", "p.at": "2026-11-20T08:00", "p.kind": "in"},
    )
    assert "Enviado" in owner.text
    sent = (await rows(portal_world, "calls", _partition=f"node:{node}"))[0]
    assert sent["params"] == {"employee": "João", "at": "2026-11-20T08:00:00-03:00", "kind": "in"}
    assert (sent["role"], "a caminho" in owner.text) == ("owner", True)
    host = await portal_world.host()
    receipt = Receipt(id=str(sent["id"]), command="register_punch", by="x", door="cloud",
                      at=host.now(), ok=False, code="person.unknown", message="Qual João?")  # fmt: skip
    await portal_world.write(host, [(receipt, "site:angeloni-1")])
    text = await owner.get(f"/nodes/{node}/calls")
    assert "person.unknown" in text
    assert "Qual João?" in text


async def test_a_site_and_a_node_come_and_go(portal_world: World, owner: Browser) -> None:
    await owner.post("/sites/add", name="Angeloni 3", zone="America/Manaus", groups="sul, praia")
    site = (await rows(portal_world, "sites", name="Angeloni 3"))[0]
    assert (site["zone"], site["groups"]) == ("America/Manaus", ["praia", "sul"])
    await owner.post(f"/sites/{site['id']}", name="Angeloni III", zone="Nowhere/None")
    assert owner.status == 400
    text = await owner.post("/nodes/new", site=str(site["id"]), name="Balcão")
    assert "<svg" in text
    assert "beira node enrol" in text
    node = portal_world.nodes["angeloni-2"]
    await owner.post(f"/nodes/{node}/rename", name="Balcão dois")
    assert "Balcão dois" in await owner.get("/nodes/list")


async def test_what_is_not_there_is_told(owner: Browser) -> None:
    for path in ("/products/none", "/people/none", "/nodes/none", "/settings/none", "/nowhere"):
        text = await owner.get(path)
        assert owner.status == 404, path
        assert "Não há nada aqui" in text or "not_found" in text, path


async def test_the_password_is_changed_only_by_who_knows_it(portal_world: World) -> None:
    async with portal_world.browser("en") as browser:
        await browser.sign_in(portal_world.emails["clerk"])
        await browser.post("/account/password", old="wrong one here", new="n" * 12, again="n" * 12)
        assert browser.status == 400
        new = "another good phrase"
        await browser.post("/account/password", old="correct horse battery", new=new, again="x")
        assert "differ" in browser.text
        old = "correct horse battery"
        await browser.post("/account/password", old=old, new=new, again=new)
        assert "Password changed" in browser.text
        await browser.post("/account/password", old=new, new=old + " ", again=old + " ")
        await browser.post("/account/password", old=old + " ", new=old, again=old)
        await browser.post("/account/name", name="Clerk")
        assert browser.status == 200


async def test_an_empty_company_is_shown_its_first_steps(portal_world: World) -> None:
    made = portal_world.identity
    await made.tenants.create(service(""), "Vazia", id="vazia")
    invited = await made.tenants.invite(service("vazia"), "dona@vazia.example", "owner")
    await made.tenants.accept(invited.code, PASSWORD, name="Dona")
    async with portal_world.browser() as browser:
        text = await browser.sign_in("dona@vazia.example")
        assert "Primeiros passos" in text
        assert "Crie a primeira loja" in text
        for path in (
            "/products",
            "/people",
            "/punches",
            "/nodes",
            "/alerts",
            "/sales",
            "/interactions",
        ):
            text = await browser.get(path)
            assert 'class="empty"' in text, path
        assert "Primeiro, uma loja" in await browser.get("/nodes/new")
        await browser.post("/sites/add", name="Primeira", zone="America/Recife")
        text = await browser.get("/")
        assert text.count('class="done"') == 1
