"""Takes the docs' pictures of the counter and of the demonstration's page (`make screens`)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.acceptance.test_portal_browser import ARGUMENTS, CHROMIUM
from tests.acceptance.test_voice_counter import shop

pytestmark = [pytest.mark.screens, pytest.mark.browser]
FOLDER = Path(os.environ.get("BEIRA_SCREENS", "docs/pictures"))
SIZES = ((390, 844), (1440, 900))
SAID = ("quanto custa o leite integral", "que horas são", "registrar ponto do joão")
WAIT_MS = 60_000


async def test_take_the_counters_pictures(tmp_path: Path) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with shop(tmp_path, served=True) as made, async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        for theme in ("light", "dark"):
            for width, height in SIZES:
                context = await browser.new_context(
                    locale="pt-BR",
                    color_scheme=theme,
                    viewport={"width": width, "height": height},
                    device_scale_factor=1.5,
                )
                page = await context.new_page()
                await page.goto(f"{made.url}/balcao")
                await page.wait_for_selector("body[data-state=idle]", timeout=WAIT_MS)
                for at, words in enumerate(SAID, start=1):
                    await _say(page, words, at)
                await page.wait_for_timeout(600)
                await page.screenshot(path=FOLDER / f"counter-{width}-{theme}.png")
                await context.close()
        await browser.close()


async def _say(page: Page, words: str, turn: int) -> None:
    await page.fill("#words", words)
    await page.press("#words", "Enter")
    await page.wait_for_selector(f".turn.aurora >> nth={turn - 1}", timeout=WAIT_MS)
    await page.wait_for_selector("body[data-state=idle]", timeout=WAIT_MS)
