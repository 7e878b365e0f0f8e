"""What the player does minute by minute: joins, cuts, announcements, failures, power cuts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.player.shop import NOON, music, shop

from beira.apps.player import playing
from beira.apps.player.engines.port import Cue, Silenced
from beira.apps.player.playing import Announcement
from beira.apps.player.records import Silence
from beira.apps.player.settings import PlayerSettings
from beira.apps.player.under_way import JINGLE
from beira.sdk import Setting
from beira.store.memory import MemoryStore
from beira.testing import Clock


async def test_without_anything_to_play_the_jingle_goes_on_as_one_play(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        assert here.title == "Vinheta" and here.next_title == "Vinheta"
        for _ in range(5):
            await here.hears(8_000)
        assert here.engine.heard == [str(JINGLE)] * 6
        assert await here.plays() == []
        await here.programme(*music(await here.asset("a")))
        assert here.next_title == "a", "the music joins on to the jingle"
        await here.hears(8_000)
        (jingle,) = await here.plays()
        assert (jingle.reason, jingle.outcome, jingle.played_ms) == ("jingle", "whole", 48_000)


async def test_tracks_join_and_each_is_written_down(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        a, b = await here.asset("a", artist="Elis"), await here.asset("b")
        await here.programme(*music(a, b))
        await here.hears(8_000)
        assert (here.title, here.next_title) == ("a", "b")
        await here.hears(180_000)
        assert (here.title, here.next_title) == ("b", "a")
        play = (await here.plays())[-1]
        assert (play.title, play.artist, play.outcome) == ("a", "Elis", "whole")
        assert (play.played_ms, play.reason, play.playlist) == (180_000, "scheduled", "all")
        assert play.at == NOON + timedelta(seconds=8)


async def test_what_was_lined_up_too_late_is_played_all_the_same(tmp_path: Path) -> None:
    """The engine had gone on to what was replaced at that moment, and its file is no longer held."""
    async with shop(tmp_path) as here:
        await here.programme(*music(await here.asset("a"), await here.asset("b")))
        await here.hears(8_000)
        here.engine.next = Cue("replaced", "/gone", 1_000)
        await here.hears(180_000)
        assert here.engine.now is not None and here.player.playing.current is not None
        assert here.engine.now.id == here.player.playing.current.id
        assert (here.title, here.next_title) == ("b", "a")
        assert (await here.plays())[-1].title == "a"


async def test_a_cue_that_the_engine_lost_is_given_to_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playing, "UNHEARD_S", -1.0)
    async with shop(tmp_path) as here:
        await here.programme(*music(await here.asset("a"), await here.asset("b")))
        await here.hears(8_000)
        here.engine.now = here.engine.next = None
        for _ in range(2):
            await here.player.playing.pause(False)
            await here.settle()
        assert here.engine.now is not None and here.title == "a"
        await here.hears(180_000)
        assert here.title == "b"


async def test_a_skip_is_heard_at_once_and_written_as_one(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        await here.programme(*music(await here.asset("a"), await here.asset("b")))
        await here.hears(8_000)
        await here.hears(60_000)
        assert await here.player.playing.skip() == "a"
        await here.settle()
        assert (here.title, here.next_title) == ("b", "a")
        play = (await here.plays())[-1]
        assert (play.title, play.outcome, play.played_ms) == ("a", "skipped", 60_000)


async def test_what_is_recalled_is_cut_at_once_and_gone_from_the_disk(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        a, b = await here.asset("a"), await here.asset("b")
        here.blobs.ledger.confirmed(a.file, 0)
        await here.programme(*music(a, b))
        await here.hears(8_000)
        assert here.title == "a"
        await here.programme(*music(b))
        assert here.title == "b"
        assert (await here.plays())[-1].outcome == "cut"
        assert not here.blobs.holds(a.file) and here.blobs.holds(b.file)


async def test_nothing_is_heard_beyond_its_licence_even_if_it_was_paused(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        until = (NOON + timedelta(hours=-3, minutes=10)).strftime("%Y-%m-%dT%H:%M")
        a, b = await here.asset("a", licence_until=until), await here.asset("b")
        here.blobs.ledger.confirmed(a.file, 0)
        await here.programme(*music(a, b))
        await here.hears(8_000)
        assert here.title == "a"
        await here.player.playing.pause(True)
        await here.hears(600_000)
        await here.player.playing.pause(False)
        await here.settle()
        assert here.title == "b" and here.next_title == "b"
        assert (await here.plays())[-1].outcome == "cut"


async def test_an_announcement_cuts_in_and_the_music_goes_on_where_it_was(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        await here.programme(*music(await here.asset("a"), await here.asset("b")))
        await here.hears(8_000)
        await here.hears(50_000)
        await here.player.playing.pause(True)
        said = await here.file("fire")
        await here.player.playing.announce(Announcement("x1", "Fogo", said, 5_000))
        await here.settle()
        assert here.title == "Fogo" and not here.engine.paused, "urgent is heard even so"
        await here.hears(5_000)
        assert here.title == "a" and here.engine.paused
        assert here.engine.now is not None and here.engine.now.start_ms == 50_000
        await here.player.playing.pause(False)
        await here.settle()
        assert here.next_title == "b"
        await here.hears(130_000)
        played = {p.title: (p.reason, p.outcome, p.played_ms) for p in await here.plays()}
        assert played["Fogo"] == ("announcement", "whole", 5_000)
        assert played["a"] == ("scheduled", "whole", 180_000)


async def test_a_file_that_rotted_is_passed_over_and_thrown_away(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        a, b, c = await here.asset("a"), await here.asset("b"), await here.asset("c")
        await here.programme(*music(a, b, c))
        await here.hears(8_000)
        assert (here.title, here.next_title) == ("a", "b")
        here.blobs._shelf.folder.path("padaria", b.file).write_bytes(b"rot" * 50)
        await here.hears(180_000)
        here.engine.end(failed=True)
        await here.settle()
        assert (here.title, here.next_title) == ("c", "a")
        assert {p.title: p.outcome for p in await here.plays()}["b"] == "failed"
        assert not here.blobs.holds(b.file)


async def test_a_file_that_vanished_is_never_tried(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        a, b, c = await here.asset("a"), await here.asset("b"), await here.asset("c")
        here.blobs._shelf.folder.path("padaria", b.file).unlink()
        await here.programme(*music(a, b, c))
        await here.hears(8_000)
        assert (here.title, here.next_title) == ("a", "c")


async def test_what_a_power_cut_left_is_a_play_that_was_cut(tmp_path: Path) -> None:
    clock = Clock(NOON)
    async with shop(tmp_path, clock=clock) as here:
        a, b = await here.asset("a"), await here.asset("b")
        await here.programme(*music(a, b))
        await here.hears(8_000)
        await here.hears(40_000)
        here.player.playing._note_begun()
        await here.player.notes.flush()
        store = here.host.store
        assert isinstance(store, MemoryStore)
        here.player.notes.begun = lambda plays: None  # type: ignore[method-assign] # no power
    clock.forward(3_600)
    async with shop(tmp_path, store=store, clock=clock) as again:
        assert (again.title, again.next_title) == ("b", "a"), "and it goes on after it"
        left = [p for p in await again.plays() if p.title == "a"]
        assert [(p.outcome, p.played_ms, p.at) for p in left] == [
            ("cut", 40_000, NOON + timedelta(seconds=8))
        ]


async def test_time_does_not_go_behind_what_is_known(tmp_path: Path) -> None:
    """A clock that lost its battery does not bring back what has expired."""
    async with shop(tmp_path) as here:
        until = (NOON + timedelta(days=-100)).strftime("%Y-%m-%dT%H:%M")
        a, b = await here.asset("a", valid_until=until), await here.asset("b")
        issued = NOON
        here.clock._start_ms -= 400 * 86_400_000
        await here.programme(*music(a, b), at=issued)
        await here.hears(8_000)
        assert here.title == "b" and here.next_title == "b"


async def test_the_volume_is_that_of_the_hour_until_somebody_says_otherwise(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        values = {"volume": 70, "volume_by_hour": ["08:00=60", "12:30=40"]}
        async with here.host.writing() as ctx:
            ctx.put(Setting(id="player", app="player", values=values), partition="site:s1")
        await here.settle()
        assert here.engine.percent == 60
        await here.player.playing.set_volume(90)
        await here.settle()
        assert here.engine.percent == 90
        here.clock.forward(1_800)
        await here.player.playing.skip()
        await here.settle()
        assert here.engine.percent == 40


async def test_a_full_disk_stops_no_music_and_loses_no_play(tmp_path: Path) -> None:
    from beira.kernel.errors import Full

    async with shop(tmp_path) as here:
        await here.programme(*music(await here.asset("a"), await here.asset("b")))
        commit = here.host.store.commit

        async def full(*_: object, **__: object) -> None:
            raise Full("full", code="disk.full")

        here.host.store.commit = full  # type: ignore[method-assign, assignment]
        await here.hears(8_000)
        for _ in range(3):
            await here.hears(180_000)
        assert here.title == "b"
        here.host.store.commit = commit  # type: ignore[method-assign]
        assert [p.title for p in await here.plays()] == ["Vinheta", "a", "b", "a"]


async def test_silences_are_written_down_and_people_are_told(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        for _ in range(3):
            here.engine.tell(Silenced(9_000, "quiet", over=False))
            await here.settle()
            here.clock.forward(2)
            here.engine.tell(Silenced(11_000, "", over=True))
            await here.settle()
        await here.plays()
        async with here.host.writing() as ctx:
            silences = await ctx.find(Silence)
        assert [s.ms for s in silences] == [11_000] * 3
        assert here.player.playing.health.silent_ms == 33_000
        alerts = await here.host.store.query(_alerts())
        assert [row["kind"] for row in alerts.rows] == ["player_silent"]


def _alerts():  # type: ignore[no-untyped-def]
    from beira.sdk import Query

    return Query(collection="alerts")


async def test_settings_reach_the_engine(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        await here.player.playing.use(
            here.player.playing.program, PlayerSettings(crossfade_ms=3_000, silence_s=5)
        )
        assert here.engine.expected == {"silence_s": 5.0, "crossfade_ms": 3_000, "output": ""}
