"""What a shop wishes for, within its hours and its disk; and commands, by whom they may be given."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from tests.unit.player.shop import NOON, music, shop

from beira.apps.player.fetching import may_fetch, wishes
from beira.apps.player.manifest import AssetEntry, Entry, PlaylistEntry, SlotEntry
from beira.apps.player.memory import Memory
from beira.apps.player.program import Program
from beira.apps.player.settings import PlayerSettings
from beira.kernel.access import Kind, Principal
from beira.kernel.command import Receipt


def asset(name: str, mb: int = 3) -> AssetEntry:
    return AssetEntry(id=name, file=f"file-{name}", title=name, size_bytes=mb * 1_000_000,
                      duration_ms=180_000)  # fmt: skip


def programme() -> Program:
    """Now a and b; from six in the evening c; for emergencies e."""
    entries: list[Entry] = [asset(name) for name in "abce"]
    entries += [
        PlaylistEntry(id="day", name="Dia", assets=("a", "b")),
        PlaylistEntry(id="night", name="Noite", assets=("c",)),
        PlaylistEntry(id="spare", name="Reserva", assets=("e",)),
        SlotEntry(id="1", playlist="day", begins="08:00", ends="18:00"),
        SlotEntry(id="2", playlist="night", begins="18:00", ends="23:00"),
        SlotEntry(id="3", playlist="spare", use="emergency"),
    ]
    return Program.of(entries, issued_at=NOON)


def wished(settings: PlayerSettings, *, held: str = "") -> list[str]:
    found = wishes(programme(), Memory(), NOON.replace(hour=12), settings,
                   lambda file: file.removeprefix("file-") in held)  # fmt: skip
    return [one.id for one in found]


def test_what_plays_now_comes_first_then_what_is_for_emergencies_then_what_is_later() -> None:
    found = wished(PlayerSettings())
    assert set(found[:2]) == {"a", "b"} and found[2:] == ["e", "c"]


def test_outside_the_hours_only_what_is_needed_soon_is_fetched_and_nothing_given_up() -> None:
    night = PlayerSettings(download_from="22:00", download_until="05:00")
    assert set(wished(night)) == {"a", "b", "e"}
    assert set(wished(night, held="c")) == {"a", "b", "c", "e"}


def test_what_does_not_fit_the_disk_is_left_out_from_the_end() -> None:
    every = PlayerSettings(disk_mb=100)
    assert len(wished(every)) == 4
    small = PlayerSettings(disk_mb=100)
    small.disk_mb = 10
    assert wished(small)[2:] == ["e"], "three of three megabytes each"


@pytest.mark.parametrize(
    ("begins", "ends", "at", "may"),
    [("00:00", "00:00", "12:00", True), ("22:00", "05:00", "23:30", True),
     ("22:00", "05:00", "04:59", True), ("22:00", "05:00", "05:00", False),
     ("01:00", "03:00", "02:00", True), ("01:00", "03:00", "03:00", False)],
)  # fmt: skip
def test_hours_may_pass_midnight(begins: str, ends: str, at: str, may: bool) -> None:
    settings = PlayerSettings(download_from=begins, download_until=ends)
    assert may_fetch(settings, datetime.fromisoformat(f"2026-11-20T{at}")) is may


async def test_commands_do_it_and_say_so_and_a_guest_may_not(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        await here.programme(*music(await here.asset("a"), await here.asset("b")))
        await here.hears(8_000)

        async def run(name: str, role: str = "member", **params: object) -> Receipt:
            who = Principal(kind=Kind.PERSON, id="ana", tenant="padaria", name="Ana", role=role)
            receipt = await here.host.run(name, params, principal=who, door="test")
            await here.settle()
            return receipt

        assert (await run("player_pause")).ok and here.engine.paused
        assert (await run("player_play")).ok and not here.engine.paused
        skipped = await run("player_skip")
        assert skipped.result["title"] == "a" and here.title == "b"
        assert (await run("player_volume", volume=15)).ok and here.engine.percent == 15
        assert (await run("player_volume", volume=101)).code == "parameter.invalid"
        assert (await run("player_skip", role="guest")).code == "denied"
        assert (await run("player_announce", text="Fogo")).code == "player.no_voice"
        assert (await run("player_announce")).code == "player.announcement"
        assert (await run("player_announce", file="0" * 64)).code == "player.no_file"
        fire = await here.file("fire")
        told = await run("player_announce", file=fire, title="Fogo")
        assert told.ok and here.title == "Fogo" and here.engine.now.id == told.id
