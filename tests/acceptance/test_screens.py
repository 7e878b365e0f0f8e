"""Takes the docs' pictures: the portal at 390 and 1440 px, light and dark (`make screens`)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.test_portal_browser import ARGUMENTS, CHROMIUM, sign_in
from tests.contract.postgres_fixture import postgres_place
from tests.unit.portal.world import alert, fill, quarantined, world

pytestmark = [pytest.mark.screens, pytest.mark.browser]
FOLDER = Path(os.environ.get("BEIRA_SCREENS", "docs/pictures"))
SIZES = ((390, 844), (1440, 900))
PAGES = {
    "overview": "/",
    "conversations": "/interactions",
    "punches": "/punches",
    "hours": "/punches/person/person-1",
    "requests": "/requests",
    "sales": "/sales",
    "products": "/products",
    "nodes": "/nodes",
    "node": "/nodes/{node}?command=register_punch",
    "alerts": "/alerts",
    "settings": "/settings/voice",
    "refused": "/quarantine",
    "mend": "/quarantine/refused-{node}",
}
SETTLE_MS = 400


async def test_take_the_pictures() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    server = await EmbeddedPostgres.start(postgres_place())
    dsn, owner_dsn = await server.make_database("screens")
    async with world(server, dsn, owner_dsn) as made, async_playwright() as play:
        await fill(made)
        host = await made.host()
        await made.write(host, [(alert("warning"), "site:angeloni-2")])
        await made.write(host, [(quarantined(made.nodes["angeloni-1"]), "tenant")])
        browser = await play.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, "--lang=pt-BR"],
            env={"LANGUAGE": "pt_BR"},
        )
        for theme in ("light", "dark"):
            context = await browser.new_context(
                locale="pt-BR", timezone_id="America/Sao_Paulo", color_scheme=theme,
                device_scale_factor=1.5,
            )  # fmt: skip
            page = await context.new_page()
            await page.goto(made.url + "/sign-in")
            await _take(page, "sign-in", theme)
            await sign_in(page, made, "owner")
            for name, path in PAGES.items():
                await page.goto(made.url + path.replace("{node}", made.nodes["angeloni-1"]))
                await _take(page, name, theme)
            await context.close()
        await browser.close()
    await server.stop()


async def _take(page: Page, name: str, theme: str) -> None:
    for width, height in SIZES:
        await page.set_viewport_size({"width": width, "height": height})
        await page.wait_for_timeout(SETTLE_MS)
        picture = FOLDER / f"portal-{name}-{width}-{theme}.png"
        await page.screenshot(path=picture)
        assert picture.stat().st_size > 10_000
