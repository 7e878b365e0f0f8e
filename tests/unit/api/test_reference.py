"""docs/reference/api.md promises what tests show, and leaves no story out."""

from __future__ import annotations

import re
from pathlib import Path

from litestar.routes import HTTPRoute
from tests.unit.api.shop import Tickets, application, memory_host

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/api.md").read_text()


def shown() -> set[str]:
    table = PAGE.split("## What is covered")[1].split("## What is not")[0]
    rows = [line.strip("| ").split("|") for line in table.splitlines() if line.startswith("| ")]
    return {row[-1].strip() for row in rows} - {"shown by"}


def told() -> set[str]:
    stories = (ROOT / "tests/acceptance/js/supabase.cjs").read_text()
    found = set(re.findall(r'async "([^"]+)"\(\)', stories))
    for name in ("postgrest", "realtime"):
        text = (ROOT / f"tests/acceptance/test_api_{name}.py").read_text()
        found |= set(re.findall(r"async def (test_\w+)", text))
    return found


def test_every_promise_is_shown_and_every_story_is_told() -> None:
    assert shown() == told()


def test_every_path_is_described() -> None:
    app = application({"t1": memory_host()}, Tickets())
    own = [route.path for route in app.routes if isinstance(route, HTTPRoute)]
    for path in own:
        start = re.sub(r"/\{.*", "", path)
        last = start.rstrip("/").rsplit("/", 1)[-1]
        assert start in PAGE or f"…/{last}" in PAGE or f"/{last}" in PAGE, path
