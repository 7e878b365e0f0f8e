"""The portal in a real browser: reachable by everybody, live within a second, alive in an outage."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from beira.apps.voice.records import CustomerRequest, Interaction, Person
from beira.store.postgres import EmbeddedPostgres
from tests.contract.postgres_fixture import postgres_place
from tests.unit.portal.world import (
    BAD,
    PASSWORD,
    World,
    alert,
    contested,
    fill,
    quarantined,
    scheduled,
    world,
)

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
AXE = ROOT / ".cache" / "assets" / "axe.min.js"
CHROMIUM = os.environ.get("BEIRA_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SIZES = ((390, 844), (1440, 900))
ALL_LOOKS = tuple((size, theme) for size in SIZES for theme in ("light", "dark"))
LOOKS = [ALL_LOOKS[::3], pytest.param(ALL_LOOKS, marks=pytest.mark.long)]
"""Every run looks at each page on a phone by day and on a desk by night, a long one at all four."""
Looks = tuple[tuple[tuple[int, int], str], ...]
PAGES = (
    "/", "/interactions", "/punches", "/punches/person/person-1", "/sales", "/products",
    "/products/product-1", "/people", "/people/new", "/alerts?which=all", "/nodes", "/nodes/{node}",
    "/nodes/{node}?command=register_punch", "/nodes/new", "/sites", "/team", "/team/audit",
    "/settings/voice", "/quarantine", "/quarantine?which=ended", "/quarantine/refused-{node}",
    "/requests", "/requests?which=all", "/people/person-1", "/account",
    "/punches/angeloni-1-0-0/correct", "/nowhere", "/conflicts", "/conflicts?which=restored",
    "/calendar", "/calendar/new", "/calendar/night",
)  # fmt: skip
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

if not Path(CHROMIUM).exists():
    pytest.skip("no Chromium: tools/system.sh installs it", allow_module_level=True)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shown() -> AsyncIterator[World]:
    """A world of its own: the outage takes the database from everybody."""
    directory = postgres_place()
    server = await EmbeddedPostgres.start(directory)
    dsn, owner_dsn = await server.make_database("shown")
    async with world(server, dsn, owner_dsn) as made:
        made.directory = directory
        await fill(made)
        host = await made.host()
        await made.write(host, [(alert("warning"), "site:angeloni-2")])
        await made.write(host, [(quarantined(made.nodes["angeloni-1"]), "tenant")])
        await made.write(host, [*contested(made), *scheduled()])
        yield made
    await made.server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, shown: World) -> AsyncIterator[Page]:
    """The owner's browser, signed in; it fails the test if a script fails or a policy is broken."""
    context = await chromium.new_context(locale="pt-BR", timezone_id="America/Sao_Paulo")
    opened = await context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda m: wrong.append(m.text) if "Content Security" in m.text else None)
    await sign_in(opened, shown, "owner")
    yield opened
    await context.close()
    assert not wrong


async def sign_in(page: Page, made: World, who: str) -> None:
    await page.goto(made.url + "/sign-in")
    await page.get_by_label("E-mail").fill(made.emails[who])
    await page.get_by_label("Senha", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Entrar").click()
    await page.get_by_role("heading", name="Hoje").wait_for()


async def faults(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA."""
    if not await page.evaluate("() => !!window.axe"):
        await page.evaluate(AXE.read_text())
    found = await page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES
    )
    return [
        f"{v['id']}: {n['target']} {n['failureSummary'][:300]}"
        for v in found["violations"]
        for n in v["nodes"][:3]
    ]


async def meets_wcag(page: Page, looks: Looks) -> None:
    for (width, height), theme in looks:
        await page.set_viewport_size({"width": width, "height": height})
        await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        assert await faults(page) == [], (page.url, width, theme)
        wide = await page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= width, (page.url, width, "scrolls sideways")


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not here: make assets")
@pytest.mark.parametrize("looks", LOOKS, ids=["some", "all"])
@pytest.mark.parametrize("path", PAGES)
async def test_every_page_meets_wcag_aa(page: Page, shown: World, path: str, looks: Looks) -> None:
    await page.goto(shown.url + path.replace("{node}", shown.nodes["angeloni-1"]))
    await meets_wcag(page, looks)


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not here: make assets")
async def test_what_an_owner_makes_meets_wcag_aa(page: Page, shown: World) -> None:
    await page.goto(shown.url + "/team")
    await page.get_by_label("E-mail").fill("novo@angeloni.example")
    await page.get_by_role("button", name="Criar convite").click()
    await page.get_by_label("Endereço do convite").wait_for()
    assert await faults(page) == []
    await page.get_by_role("link", name="Senha member@angeloni.example").click()
    await page.get_by_role("heading", name="Senha esquecida").wait_for()
    assert await faults(page) == []


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not here: make assets")
async def test_the_doors_meet_wcag_aa(chromium: Browser, shown: World) -> None:
    for theme in ("light", "dark"):
        context = await chromium.new_context(locale="pt-BR", color_scheme=theme)  # type: ignore[arg-type]
        opened = await context.new_page()
        for path in ("/sign-in", "/join#ABCDE", "/recover#ABCDE", "/enrol#ABCDE-FGHIJ"):
            await opened.goto(shown.url + path)
            assert await faults(opened) == [], (path, theme)
        assert await opened.locator("[data-code]").first.text_content() == "ABCDE-FGHIJ"
        await context.close()


async def test_the_keyboard_reaches_the_content_first(page: Page, shown: World) -> None:
    await page.goto(shown.url + "/products")
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Ir para o conteúdo")
    assert await skip.evaluate("el => el === document.activeElement")
    await page.keyboard.press("Enter")
    assert await page.evaluate("() => document.activeElement.id") == "main"


async def test_focus_can_be_seen_on_everything_the_keyboard_reaches(
    page: Page, shown: World
) -> None:
    node = shown.nodes["angeloni-1"]
    for path in ("/requests", f"/quarantine/refused-{node}", "/nodes/new"):
        await page.goto(shown.url + path)
        await page.locator("#main").focus()
        seen: set[str] = set()
        for _ in range(12):
            await page.keyboard.press("Tab")
            told = await page.evaluate(
                "() => { const el = document.activeElement, style = getComputedStyle(el);"
                " return [el.tagName, style.outlineStyle, style.outlineWidth] }"
            )
            if told[0] == "BODY":
                break
            seen.add(told[0])
            assert told[1] != "none", (path, told)
            assert told[2] != "0px", (path, told)
        assert seen & {"A", "BUTTON", "INPUT"}, path


async def test_a_refused_record_is_mended_by_keyboard_alone(page: Page, shown: World) -> None:
    host = await shown.host()
    node = shown.nodes["angeloni-1"]
    lost = quarantined(node)
    lost.id, lost.record = "by-keyboard", "punch-by-keyboard"
    lost.row["stamp"][0] = host.clock.tick(host.wall.now_ms())
    await shown.write(host, [(lost, "tenant")])
    await page.goto(shown.url + "/quarantine/by-keyboard")
    wrong = page.get_by_label("Dia e hora")
    assert await wrong.get_attribute("aria-invalid") == "true"
    await wrong.focus()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("2026-11-20T08:00")
    await page.keyboard.press("Enter")
    await page.get_by_role("status").filter(has_text="Admitido").wait_for()
    row = await host.store.get("punches", "punch-by-keyboard")
    assert row is not None
    assert row.fields["at"] == "2026-11-20T11:00:00Z"


async def test_discarding_asks_twice(page: Page, shown: World) -> None:
    host = await shown.host()
    lost = quarantined(shown.nodes["angeloni-1"])
    lost.id = "to-discard"
    await shown.write(host, [(lost, "tenant")])
    await page.goto(shown.url + "/quarantine/to-discard")
    button = page.get_by_role("button", name="Descartar de vez")
    assert not await button.is_visible()
    await page.locator("summary", has_text="Descartar").click()
    await button.click()
    await page.get_by_role("status").filter(has_text="Descartado").wait_for()
    page.on("dialog", lambda dialog: dialog.dismiss())
    await page.goto(shown.url + "/nodes/" + shown.nodes["angeloni-2"])
    await page.locator("summary", has_text="revogação").click()
    await page.get_by_role("button", name="Revogar o nó").click()
    assert "/nodes/" + shown.nodes["angeloni-2"] in page.url


async def test_the_commands_for_a_node_are_copied_whole(page: Page, shown: World) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto(shown.url + "/nodes/new")
    await page.get_by_role("button", name="Gerar código").click()
    code = await page.locator(".enrol-code").inner_text()
    await page.get_by_role("img", name="Código QR").wait_for()
    await page.locator(".shell button").first.click()
    await page.get_by_text("Copiado").wait_for()
    lines = (await page.evaluate("() => navigator.clipboard.readText()")).splitlines()
    assert len(lines) == 3
    assert lines[1].endswith(f" {code} --data /var/lib/private/beira-node")
    if AXE.exists():
        await page.locator("#ways summary").click()
        assert await faults(page) == []


async def test_a_customers_request_appears_and_is_attended_to(page: Page, shown: World) -> None:
    await page.goto(shown.url + "/requests")
    await page.locator("#pulse[data-state=on]").wait_for()
    host = await shown.host()
    asked = CustomerRequest(text="torta de limão", at=host.now(), customer="Dona Zilá")
    await shown.write(host, [(asked, "site:angeloni-1")])
    row = page.locator(".request", has_text="torta de limão")
    await row.get_by_role("button", name="Atendido").click()
    await page.get_by_text("Marcado como atendido").wait_for()
    assert await row.count() == 0


async def test_a_conversation_appears_by_itself(page: Page, shown: World) -> None:
    await page.goto(shown.url + "/interactions")
    await page.locator("#pulse[data-state=on]").wait_for()
    host = await shown.host()
    said = Interaction(
        text="que horas são agora mesmo", answer="São três e meia.", outcome="done", at=host.now(),
        stages_ms={"stt": 40.0, "decide": 9.0}, latency_ms=312.0, door="microphone",
    )  # fmt: skip
    await shown.write(host, [(said, "site:angeloni-1")])
    first = page.locator(".talk-row").first
    await first.get_by_text("que horas são agora mesmo").wait_for(timeout=3_000)
    assert await first.get_by_role("img").get_attribute("aria-label") == "ouvir 40 ms, agir 9 ms"


async def test_a_critical_alert_breaks_in_on_every_open_page(page: Page, shown: World) -> None:
    await page.goto(shown.url + "/products")
    await page.locator("#pulse[data-state=on]").wait_for()
    await shown.write(await shown.host(), [(alert("critical", BAD), "site:angeloni-1")])
    banner = page.get_by_role("alert").filter(has_text="Fogo no depósito")
    await banner.wait_for(timeout=3_000)
    assert await page.evaluate("() => window.evil") is None
    await banner.get_by_role("button", name="Ciente").click()
    await page.get_by_text("Anotado como visto").wait_for()
    await page.wait_for_timeout(300)
    assert await banner.count() == 0


async def test_a_product_is_found_and_edited_by_its_form(page: Page, shown: World) -> None:
    await page.goto(shown.url + "/products")
    await page.get_by_label("Procurar").fill("café")
    await page.get_by_text("Leite integral").wait_for(state="detached")
    await page.get_by_role("link", name="Café torrado").click()
    await page.get_by_label("Preço").fill("17,40")
    await page.get_by_role("button", name="Salvar").click()
    await page.get_by_role("status").filter(has_text="Salvo").wait_for()
    await page.get_by_text("R$ 17,40").wait_for()


async def test_text_of_the_shops_never_runs(page: Page, shown: World) -> None:
    host = await shown.host()
    await shown.write(host, [(Person(id="bad", name=BAD), "tenant")])
    await page.goto(shown.url + "/people")
    await page.goto(shown.url + "/people/bad")
    assert await page.get_by_label("Nome", exact=True).input_value() == BAD
    assert await page.evaluate("() => window.evil") is None


async def test_the_menu_on_a_telephone(page: Page, shown: World) -> None:
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.goto(shown.url + "/")
    await page.locator(".bottom summary").click()
    await page.locator(".bottom").get_by_role("link", name="Ajustes").click()
    await page.get_by_role("heading", name="Ajustes de").wait_for()
    await page.locator("#me summary").click()
    if AXE.exists():
        assert await faults(page) == []
    await page.get_by_role("button", name="English").click()
    await page.get_by_role("heading", name="Settings of").wait_for()


async def test_plots_are_drawn_and_told_in_words(page: Page, shown: World) -> None:
    await page.goto(shown.url + "/")
    await page.locator("figure[data-drawn] canvas").first.wait_for()
    await page.locator("figure summary").first.click()
    assert await page.locator("figure table").first.locator("tbody tr").count() > 0


async def test_the_database_goes_and_comes_back_without_a_reload(page: Page, shown: World) -> None:
    await page.goto(shown.url + "/products")
    await page.locator("#pulse[data-state=on]").wait_for()
    await page.evaluate("() => { window.notReloaded = true }")
    await shown.server.stop()
    await page.locator("#outage").wait_for(timeout=15_000)
    assert await page.get_by_text("Café torrado").count() > 0
    await page.reload()
    await page.get_by_text("Isto é o que esta página mostrava").wait_for()
    await page.evaluate("() => { window.notReloaded = true }")
    shown.server = await EmbeddedPostgres.start(shown.directory)
    await page.get_by_text("Isto é o que esta página mostrava").wait_for(
        state="detached", timeout=30_000
    )
    assert await page.evaluate("() => window.notReloaded") is True
    await page.get_by_text("Café torrado").first.wait_for()
