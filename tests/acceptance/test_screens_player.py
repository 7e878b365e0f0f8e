"""Takes the docs' pictures of the director's pages: both sizes, light and dark (`make screens`)."""

from __future__ import annotations

import pytest
from playwright.async_api import async_playwright

from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.player_world import fill, living
from tests.acceptance.support import PASSWORD, company_on
from tests.acceptance.test_portal_browser import ARGUMENTS, CHROMIUM
from tests.acceptance.test_screens import FOLDER, _take
from tests.contract.postgres_fixture import postgres_place

pytestmark = [pytest.mark.screens, pytest.mark.browser]
PAGES = {
    "music": "/music",
    "library": "/music/library",
    "grid": "/music/grid",
}


async def test_take_the_directors_pictures() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    server = await EmbeddedPostgres.start(postgres_place())
    dsn, owner_dsn = await server.make_database("music")
    async with company_on(dsn, owner_dsn) as company, async_playwright() as play:
        tenant = await company.tenant("angeloni")
        nodes, host = await fill(company, tenant), await company.host(tenant)
        browser = await play.chromium.launch(
            executable_path=CHROMIUM, args=[*ARGUMENTS, "--lang=pt-BR"], env={"LANGUAGE": "pt_BR"}
        )
        for theme in ("light", "dark"):
            context = await browser.new_context(
                locale="pt-BR", timezone_id="America/Sao_Paulo", color_scheme=theme,
                device_scale_factor=1.5,
            )  # fmt: skip
            page = await context.new_page()
            await page.goto(company.address + "/sign-in")
            await page.get_by_label("E-mail").fill(f"owner@{tenant}.example")
            await page.get_by_label("Senha", exact=True).fill(PASSWORD)
            await page.get_by_role("button", name="Entrar").click()
            await page.get_by_role("heading", name="Hoje").wait_for()
            await living(host, nodes, host.now())
            for name, path in PAGES.items():
                await page.goto(company.address + path)
                await _take(page, name, theme)
            await context.close()
        await browser.close()
    await server.stop()
