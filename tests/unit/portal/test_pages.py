"""Every page opens for those it is for, and tells the others."""

from __future__ import annotations

import pytest
from tests.unit.portal.world import Browser

PAGES = (
    "/", "/interactions", "/punches", "/punches/person/person-0", "/sales", "/products",
    "/products/new", "/products/product-1", "/people", "/people/new", "/people/person-1",
    "/alerts", "/alerts?which=all", "/nodes", "/nodes/new", "/sites", "/team", "/team/audit",
    "/settings/voice", "/settings/voice?for=site:angeloni-1", "/quarantine", "/account",
    "/quarantine?which=ended", "/quarantine/list", "/requests", "/requests?which=all&q=bolo",
    "/requests?which=closed&site=angeloni-1", "/requests/list",
    "/voice/today", "/voice/plots", "/interactions/list", "/punches/list", "/nodes/list",
    "/alerts/banner", "/enrol", "/join", "/sign-in",
)  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
async def test_an_owner_can_open(owner: Browser, path: str) -> None:
    text = await owner.get(path)
    assert owner.status == 200, text[-3000:]
    assert "Undefined" not in text
