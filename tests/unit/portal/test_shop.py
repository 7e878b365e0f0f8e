"""What a shop's people look for: who waits, who is in, what is late, and words in their language."""

from __future__ import annotations

import html
import re
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

import pytest
from tests.unit.portal.test_work import rows
from tests.unit.portal.world import Browser, World

from beira.apps.voice import app as voice
from beira.apps.voice.portal_hours import by_day
from beira.apps.voice.portal_pages import PAGES
from beira.apps.voice.records import CustomerRequest, Punch
from beira.apps.voice.rules import Worked
from beira.identity.tenants import service
from beira.kernel.access import node_partition
from beira.kernel.system import NodeStatus
from beira.portal.forms import plain_type
from beira.portal.looks import _beside
from beira.portal.words import AUDIT

ZONE = ZoneInfo("America/Sao_Paulo")


async def test_a_request_waits_until_somebody_attends_to_it(
    portal_world: World, owner: Browser
) -> None:
    host = await portal_world.host()
    asked = CustomerRequest(
        id="request-wait", text="Panetone trufado", at=host.now(), customer="Dona Ivone",
        phone="48999990000", quantity_milli=1_500, unit="kg",
    )  # fmt: skip
    await portal_world.write(host, [(asked, "site:angeloni-2")])
    for who in ("member", "owner"):
        async with portal_world.browser() as browser:
            await browser.sign_in(portal_world.emails[who])
            text = await browser.get("/requests")
            assert "Panetone trufado" in text
            assert "1,5 kg" in text
            assert "Panetone" not in await browser.get("/requests?site=angeloni-1")
            assert "Panetone" in await browser.get("/requests/list?q=ivone")
            assert "Panetone" not in await browser.get("/requests/list?q=pedro")
    async with portal_world.browser() as browser:
        await browser.sign_in(portal_world.emails["member"])
        await browser.post("/requests/request-wait/close", outcome="done")
        assert "Marcado como atendido" in browser.text
    await owner.post("/requests/request-wait/close", outcome="cancelled")
    closings = await rows(portal_world, "request_closings", request="request-wait")
    assert [(c["outcome"], c["by"]) for c in closings] == [("done", "Member")]
    assert closings[0]["_partition"] == "site:angeloni-2"
    assert "Panetone" not in await owner.get("/requests")
    text = await owner.get("/requests?which=closed")
    assert "Panetone" in text
    assert "atendido" in text


async def test_requests_are_for_those_of_the_site(portal_world: World) -> None:
    async with portal_world.browser() as other:
        await other.sign_in(portal_world.emails["other"])
        assert "bolo de cenoura" not in await other.get("/requests?which=all")
        await other.post("/requests/angeloni-1-request-0/close", outcome="done")
        assert other.status == 404
    async with portal_world.browser() as clerk:
        await clerk.sign_in(portal_world.emails["clerk"])
        await clerk.post("/requests/angeloni-1-request-0/close", outcome="done")
        assert clerk.status == 404
    ended = {row["request"] for row in await rows(portal_world, "request_closings")}
    assert "angeloni-1-request-0" not in ended


async def test_an_open_shift_says_since_when_and_how_long(
    portal_world: World, owner: Browser
) -> None:
    host = await portal_world.host()
    began = host.now() - timedelta(hours=3, minutes=20)
    entered = Punch(
        id="open-shift", person="person-open", employee="Rita Nova", kind="in", at=began, said_at=began
    )  # fmt: skip
    await portal_world.write(host, [(entered, "site:angeloni-1")])
    day = began.astimezone(ZONE)
    text = await owner.get(f"/punches?day={day:%Y-%m-%d}")
    row = text[text.index("Rita Nova") :]
    row = row[: row.index("</tr>")]
    assert f"em aberto desde {day:%H:%M}" in row
    assert re.search(r">3h2\d<", row)
    assert "falta um ponto" not in row
    month = await owner.get(f"/punches/person/person-open?month={day:%Y-%m}")
    assert f"em aberto desde {day:%H:%M}" in month


async def test_a_shift_that_was_never_ended_is_missing_a_punch(
    portal_world: World, owner: Browser
) -> None:
    host = await portal_world.host()
    began = host.now() - timedelta(days=3)
    entered = Punch(
        id="lost-shift", person="person-lost", employee="Beto", kind="in", at=began, said_at=began
    )
    await portal_world.write(host, [(entered, "site:angeloni-1")])
    text = await owner.get(f"/punches?day={began.astimezone(ZONE):%Y-%m-%d}")
    assert "falta um ponto" in text
    assert "em aberto desde" not in text


def _worked(id: str, kind: Literal["in", "out"], day: int, hour: int, person: str = "p") -> Worked:
    at = datetime(2026, 11, day, hour, tzinfo=ZONE).astimezone(UTC)
    return Worked(id, person, person, kind, at, False)


def test_a_shift_past_midnight_counts_for_the_day_it_began() -> None:
    held = [
        _worked("a", "in", 10, 22), _worked("b", "in", 10, 23, "q"), _worked("c", "out", 11, 6),
        _worked("d", "out", 11, 7, "q"), _worked("e", "out", 11, 15), _worked("f", "in", 12, 8),
        _worked("g", "out", 14, 8),
    ]  # fmt: skip
    days = {w.punch: day for day, w in by_day(held, ZONE)}
    ten, eleven = date(2026, 11, 10), date(2026, 11, 11)
    assert days == {
        "a": ten, "b": ten, "c": ten, "d": ten, "e": eleven,
        "f": date(2026, 11, 12), "g": date(2026, 11, 14),
    }  # fmt: skip


async def test_the_share_that_was_on_time_is_shown_and_a_low_one_is_told(
    portal_world: World, owner: Browser
) -> None:
    host = await portal_world.host()
    node = portal_world.nodes["angeloni-2"]
    told = NodeStatus(
        id=node, release="0.1.0", started_at=host.now(), seen_at=host.now(),
        met={"critical": [99, 1], "important": [98, 2], "normal": []},
    )  # fmt: skip
    await portal_world.write(host, [(told, node_partition(node))])
    text = await owner.get(f"/nodes/{node}")
    assert "99,0 %" in text
    assert "98,0 %" in text
    assert "2 de 100 atrasados" in text
    assert text.count("menos de 99 % dos envios") == 1
    assert "98,0 %" in await owner.get("/nodes/list")


async def test_a_code_comes_with_the_commands_for_each_way_of_installing(
    portal_world: World, owner: Browser
) -> None:
    text = await owner.post("/nodes/new", site="angeloni-1", name="Balcão novo")
    code = re.search(r'class="enrol-code">([A-Z0-9-]+)<', text)
    assert code is not None
    unit = (
        f"/opt/beira/bin/beira node enrol http://cloud.example {code[1]} --data /var/lib/private/"
    )
    assert unit + "beira-node" in html.unescape(text)
    assert f".venv/bin/beira node enrol http://cloud.example {code[1]} --data" in text
    assert "<svg" in text[text.index('class="qr"') :][:400]
    assert "--again" not in text
    node = portal_world.nodes["angeloni-1"]
    again = await owner.post("/nodes/new", site="angeloni-1", name="", node=node)
    assert "--again" in again


async def test_who_may_not_is_told_who_may(portal_world: World) -> None:
    async with portal_world.browser() as member:
        await member.sign_in(portal_world.emails["member"])
        morning = datetime.now(ZONE) - timedelta(hours=5)  # when the world's people came
        text = await member.get(f"/punches?day={morning:%Y-%m-%d}")
        assert "Quem é dono da empresa o corrige" in text
        text = await member.get("/people/person-1")
        assert '<fieldset class="plain-set stack" disabled>' in text
        assert "Quem é dono da empresa muda pessoas" in text
        node = portal_world.nodes["angeloni-1"]
        assert "cabe a quem é dono da empresa" in await member.get(f"/nodes/{node}")


@pytest.mark.parametrize(
    ("text", "title", "more"),
    [
        ("", "Incêndio", False), (None, "Incêndio", False), ("incêndio!", "Incêndio", False),
        ("Falha: balança.", "Falha: balança", False), ("tem fogo no estoque", "Incêndio", True),
        ("aurora, incêndio", "Incêndio", False), ("fogo", "Incêndio", True),
    ],
)  # fmt: skip
def test_a_text_that_only_repeats_its_title_is_left_out(
    text: str | None, title: str, more: bool
) -> None:
    assert _beside(text, title) is more


def test_every_word_people_meet_is_in_their_language() -> None:
    words = PAGES.words
    named = {command.name for command in voice.commands}
    named |= {param for command in voice.commands for param in command.params}
    named |= set(voice.settings.__struct_fields__)
    named |= {f"collection.{c.name}" for c in voice.collections}
    named |= {field for c in voice.collections for field in c.fields}
    assert named - words.keys() == set()
    choices: set[str] = set()
    for command in voice.commands:
        choices |= {str(o) for p in command.params.values() for o in _options(p.python_type)}
    for field in voice.settings.__annotations__:
        choices |= {str(o) for o in _options(_hint(field))}
    assert {f"option.{c}" for c in choices - {"un", "kg", "l", "cx"}} - words.keys() == set()


def _options(hint: object) -> tuple[object, ...]:
    plain = plain_type(hint)
    return get_args(plain) if get_origin(plain) is Literal else ()


def _hint(field: str) -> object:
    return get_type_hints(voice.settings, include_extras=True)[field]


async def test_the_log_tells_in_words_what_was_done(portal_world: World, owner: Browser) -> None:
    text = await owner.get("/team/audit")
    entries = await portal_world.identity.tenants.audit(service("angeloni"), limit=200)
    assert {entry.what for entry in entries} - AUDIT.keys() == set()
    assert "enrol_code_made" not in text
    assert portal_world.nodes["angeloni-1"] not in text
