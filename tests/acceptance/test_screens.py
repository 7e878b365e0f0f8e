"""Takes the docs' pictures: the portal at 390 and 1440 px, light and dark (`make screens`)."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser, Page, async_playwright

from beira.apps.voice.records import Punch
from beira.kernel.record import Record
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.test_portal_browser import ARGUMENTS, CHROMIUM, sign_in
from tests.contract.postgres_fixture import postgres_place
from tests.unit.portal.world import World, alert, contested, fill, quarantined, scheduled, world

pytestmark = [pytest.mark.screens, pytest.mark.browser]
FOLDER = Path(os.environ.get("BEIRA_SCREENS", "docs/pictures"))
SIZES = ((390, 844), (1440, 900))
PAGES = {
    "overview": "/",
    "conversations": "/interactions",
    "punches": "/punches",
    "hours": "/punches/person/person-1",
    "requests": "/requests",
    "products": "/products",
    "nodes": "/nodes",
    "node": "/nodes/{node}?command=register_punch",
    "alerts": "/alerts",
    "settings": "/settings/voice",
}
LATER = {
    "mend": "/quarantine/refused-{node}",
    "conflicts": "/conflicts",
    "schedules": "/calendar",
    "schedule": "/calendar/night",
}
SETTLE_MS = 400


async def test_take_the_pictures() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    server = await EmbeddedPostgres.start(postgres_place())
    dsn, owner_dsn = await server.make_database("screens")
    async with world(server, dsn, owner_dsn) as made, async_playwright() as play:
        await fill(made)
        host = await made.host()
        await made.write(host, [(alert("warning"), "site:angeloni-2"), *_month(host.now())])
        browser = await play.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, "--lang=pt-BR"],
            env={"LANGUAGE": "pt_BR"},
        )
        await _tour(browser, made, PAGES)
        await made.write(host, [(quarantined(made.nodes["angeloni-1"]), "tenant")])
        await made.write(host, [*contested(made), *scheduled()])
        await _tour(browser, made, LATER)
        await browser.close()
    await server.stop()


async def _tour(browser: Browser, made: World, pages: dict[str, str]) -> None:
    for theme in ("light", "dark"):
        context = await browser.new_context(
            locale="pt-BR", timezone_id="America/Sao_Paulo", color_scheme=theme,
            device_scale_factor=1.5,
        )  # fmt: skip
        page = await context.new_page()
        await page.goto(made.url + "/sign-in")
        await _take(page, "sign-in", theme)
        await sign_in(page, made, "owner")
        for name, path in pages.items():
            await page.goto(made.url + path.replace("{node}", made.nodes["angeloni-1"]))
            await _take(page, name, theme)
        await context.close()


def _month(now: datetime) -> list[tuple[Record, str]]:
    """Maria's earlier days of this month."""
    made: list[tuple[Record, str]] = []
    zone = ZoneInfo("America/Sao_Paulo")
    for day in range(1, now.astimezone(zone).day):
        if datetime(now.year, now.month, day).weekday() == 6:
            continue
        for kind, hour, minute in (("in", 8, 0), ("out", 12, day), ("in", 13, 5), ("out", 17, day)):
            at = now.astimezone(zone).replace(day=day, hour=hour, minute=minute, second=0)
            punch = Punch(person="person-1", employee="Maria Souza", kind=kind, at=at, said_at=at)
            made.append((punch, "site:angeloni-1"))
    return made


async def _take(page: Page, name: str, theme: str) -> None:
    for width, height in SIZES:
        await page.set_viewport_size({"width": width, "height": height})
        await page.wait_for_timeout(SETTLE_MS)
        picture = FOLDER / f"portal-{name}-{width}-{theme}.png"
        await page.screenshot(path=picture)
        assert picture.stat().st_size > 10_000
