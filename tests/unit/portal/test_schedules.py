"""The calendar's page: windows as typed, as nodes read them, and drawn as a week."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.portal.world import BAD, Browser, World, invite

from beira.kernel.calendar import conditions
from beira.kernel.collection import Lane
from beira.kernel.query import Query
from beira.kernel.system import SyncWindow
from beira.portal.week import STEP_MIN, STEPS, week

MONDAY = date(2026, 11, 16)
NIGHT = {
    "title": "Noite", "kind": "maintenance", "begins": "22:00", "ends": "06:00", "first": "",
    "last": "", "hold": "normal", "share": "50", "place": "",
    **{f"day.{day}": "yes" for day in range(7)},
}  # fmt: skip
hours = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from([0, 30]))
dates = st.none() | st.dates(MONDAY - timedelta(days=3), MONDAY + timedelta(days=10))
windows = st.builds(
    SyncWindow,
    title=st.just("w"), begins=hours, ends=hours, days=st.lists(st.integers(0, 6), max_size=3),
    first=dates, last=dates, hold=st.sampled_from(["none", "normal", "important"]),
    share=st.sampled_from([0.2, 1.0]), place=st.sampled_from(["", "site:s1", "site:s2"]),
)  # fmt: skip


@given(st.lists(windows, max_size=4))
def test_a_drawn_week_is_what_nodes_do(known: list[SyncWindow]) -> None:
    """Every half hour is in one run, which says what a node of the site would heed then."""
    places = ("tenant", "site:s1")
    for number, runs in enumerate(week(known, places, MONDAY)):
        assert [run.begins for run in runs] == [0, *(run.ends for run in runs[:-1])]
        assert runs[-1].ends == STEPS
        for run in runs:
            for step in range(run.begins, run.ends):
                midnight = datetime.combine(MONDAY + timedelta(days=number), datetime.min.time())
                found = conditions(known, places, midnight + timedelta(minutes=step * STEP_MIN))
                assert (Lane.NORMAL in found.held) == (run.held != "none")
                assert (Lane.IMPORTANT in found.held) == (run.held == "important")
                assert Lane.CRITICAL not in found.held
                assert run.share == found.share


async def stored(made: World) -> dict[str, dict[str, object]]:
    host = await made.host()
    page = await host.store.query(Query(collection="sync_windows"))
    return {row["title"]: row for row in page.rows}


async def test_a_window_is_made_changed_and_deleted(portal_world: World, owner: Browser) -> None:
    page = await owner.get("/calendar/new?preset=business")
    assert 'value="08:00"' in page and "Expediente" in page
    await owner.post("/calendar/new", **NIGHT)
    assert "Adicionado" in owner.text
    assert "Noite" in owner.text and "o que é normal espera" in owner.text
    row = (await stored(portal_world))["Noite"]
    assert (row["days"], row["share"], row["begins"]) == ([], 0.5, "22:00")
    assert row["_partition"] == "tenant"
    monday = {**NIGHT, **{f"day.{day}": "no" for day in range(1, 7)}}
    await owner.post(
        f"/calendar/{row['id']}", **{**monday, "hold": "important", "title": "Segunda"}
    )
    rows = await stored(portal_world)
    assert "Noite" not in rows and rows["Segunda"]["days"] == [0]
    assert rows["Segunda"]["id"] == row["id"]
    await owner.post(f"/calendar/{row['id']}/delete")
    assert "Segunda" not in await stored(portal_world)
    assert "Mudou um horário de sincronização" in await owner.get("/team/audit")


async def test_what_does_not_fit_is_said_at_its_field(portal_world: World, owner: Browser) -> None:
    wrong = (
        {"title": ""}, {"begins": "25:00"}, {"ends": "noon"}, {"share": "0"}, {"share": "1" * 400},
        {"hold": "critical"}, {"place": "site:bistek-1"}, {"kind": BAD}, {"first": "tomorrow"},
        {"first": "2026-11-20", "last": "2026-11-19"},
        {f"day.{day}": "no" for day in range(7)},
    )  # fmt: skip
    for change in wrong:
        await owner.post("/calendar/new", **{**NIGHT, "title": "Never", **change})
        assert owner.status == 400, change
        assert 'class="error"' in owner.text, change
        assert BAD not in owner.text
    assert "Never" not in await stored(portal_world)


async def test_only_owners_in_their_own_company(portal_world: World, owner: Browser) -> None:
    await owner.post("/calendar/new", **{**NIGHT, "title": "Kept"})
    row = (await stored(portal_world))["Kept"]
    await invite(portal_world, "angeloni", "visitor-1", "guest")
    for who in ("member", "visitor-1", "clerk", "other"):
        async with portal_world.browser() as browser:
            await browser.sign_in(portal_world.emails[who])
            await browser.post(f"/calendar/{row['id']}/delete")
            assert browser.status in (403, 404), (who, browser.at, browser.text[:2_000])
            await browser.post(f"/calendar/{row['id']}", **{**NIGHT, "title": "Taken"})
            assert browser.status in (403, 404), (who, browser.at)
    assert set(await stored(portal_world)) >= {"Kept"}
    await owner.post(f"/calendar/{row['id']}/delete")
