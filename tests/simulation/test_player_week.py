"""A real shop week at speed: three shops in two time zones across both zones' change of clocks, with
all that happens to shops. No silence, and nothing that may not be heard.

A seed that fails is printed, and replays alone: BEIRA_SEED=17 pytest tests/simulation/test_player_week.py
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from beira.apps.player.records import Asset, Playlist
from tests.simulation.player_world import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    SPOT_LATE,
    Cloud,
    Shop,
    World,
    library,
)

SEEDS = [int(os.environ["BEIRA_SEED"])] if "BEIRA_SEED" in os.environ else [1, 2]
START = datetime(2026, 10, 23, 6, tzinfo=UTC)
"""Lisbon's clocks go back on October 25, New York's on November 1."""
ZONES = {"lisboa": "Europe/Lisbon", "ny-1": "America/New_York", "ny-2": "America/New_York"}


Opened = tuple[World, Cloud, dict[str, Shop]]


@pytest.fixture
def world_of() -> Iterator[Callable[..., Opened]]:
    """A world by its seed, with shops that play and a cloud."""
    with ExitStack() as stack:

        def made(seed: int, start: datetime = START) -> Opened:
            world = World(seed, start)
            cloud = Cloud(world)
            stack.callback(cloud.close)
            cloud.put(library(world.chance, start))
            shops = {name: cloud.open_shop(name, ZoneInfo(zone)) for name, zone in ZONES.items()}
            for shop in cloud.shops:
                shop.begin()
            return world, cloud, shops

        yield made


def misfortunes(world: World, cloud: Cloud, days: int) -> None:
    """What befalls shops and what a director does, at moments drawn by chance."""
    chance = world.chance
    for _ in range(6 * days):
        shop = chance.choice(cloud.shops)
        what = chance.choice(
            [
                lambda shop=shop: shop.go_offline(chance.uniform(0.1, 9) * HOUR),
                lambda shop=shop: shop.lose_power(chance.uniform(0, 3) * HOUR, chance.random() < 0.5),
                lambda shop=shop: shop.fill_disk(chance.uniform(1, 20) * HOUR),
                shop.rot, shop.rot, shop.rot, shop.lose_file, shop.old_answer,
                lambda: edit(world, cloud), lambda: recall(world, cloud),
            ]
        )  # fmt: skip
        world.at(world.now + chance.uniform(0, days) * DAY, what)


def edit(world: World, cloud: Cloud) -> None:
    """The director moves assets between playlists, and gives one another window."""
    chance, music = world.chance, cloud.music
    playlist, many = chance.choice([("dia", 70), ("noite", 44)])
    until = f"{world.now + chance.randrange(1, 30) * DAY:%Y-%m-%d}T18:00"
    cloud.change(
        (Playlist, playlist, {"assets": chance.sample(music, min(len(music), many))}),
        (Asset, chance.choice(music), {"valid_until": until}),
    )


def recall(world: World, cloud: Cloud) -> None:
    if len(cloud.music) > 60:
        cloud.recall(world.chance.choice(cloud.music))


def told(world: World) -> str:
    return f"BEIRA_SEED={world.seed}: {len(world.breaches)} breaches\n" + "\n".join(
        world.breaches[:10]
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_a_week_with_all_that_happens(seed: int, world_of: Callable[..., Opened]) -> None:
    world, cloud, shops = world_of(seed)
    misfortunes(world, cloud, 11)
    world.run(START + 12 * DAY)
    settle(world, cloud)
    assert not world.breaches, told(world)
    for shop in shops.values():
        reasons = {play.reason for play in shop.plays}
        assert {"scheduled", "campaign"} <= reasons, told(world)
        assert len(shop.plays) > 2_000, told(world)
        for file, times in shop.fetches.items():
            assert times <= 1 + shop.lost.get(file, 0), (
                f"{told(world)} {file} fetched {times} times"
            )


def settle(world: World, cloud: Cloud) -> None:
    """All is well again for a day: every shop comes to what the cloud says, and its own files."""
    for shop in cloud.shops:
        world.at(world.now, shop._go_online)
    world.run(world.now + DAY)
    for shop in cloud.shops:
        assert shop.manifest.root == cloud.manifest(shop).root, told(world)


def test_forty_days_without_a_line(world_of: Callable[..., Opened]) -> None:
    """A shop goes on by what it holds; what is recalled meanwhile is gone by its window, and at once
    where there is a line."""
    world, cloud, shops = world_of(7, START - 3 * DAY)
    until = "2026-11-20T18:00"
    windowed = {"valid_from": None, "valid_until": until, "licence_until": None}
    cloud.change((Asset, "a003", windowed))
    world.run(START)
    shops["ny-1"].go_offline(40 * DAY)
    world.at(START + 10 * DAY, lambda: shops["ny-1"].lose_power(10 * SECOND, False))
    world.run(START + 2 * DAY)
    cloud.recall("a003")
    recalled = world.now
    world.run(recalled + MINUTE)
    for shop in shops.values():
        assert ("a003" in shop.program.assets) == (shop.name == "ny-1"), shop.name
    world.run(START + 41 * DAY)
    assert not world.breaches, told(world)
    for shop in shops.values():
        last = max(play.at for play in shop.plays if play.asset == "a003")
        ends = datetime(2026, 11, 20, 18, tzinfo=ZoneInfo("America/New_York"))
        assert last < (ends if shop.name == "ny-1" else recalled + MINUTE), shop.name
    offline = [play for play in shops["ny-1"].plays if play.at > START + 30 * DAY]
    assert any(play.asset == "a003" for play in shops["ny-1"].plays if play.at > recalled + DAY)
    assert {play.reason for play in offline} >= {"scheduled", "campaign"}
    assert shops["ny-1"].manifest.root == cloud.manifest(shops["ny-1"]).root


def test_each_fixed_time_is_heard_once_a_day_whatever_the_clocks_do(
    world_of: Callable[..., Opened],
) -> None:
    world, _, shops = world_of(11)
    world.run(START + 11 * DAY)
    assert not world.breaches, told(world)
    for shop in shops.values():
        spots = [p.at.astimezone(shop.zone) for p in shop.plays if p.campaign == "aviso"]
        by_day: dict[str, list[str]] = {}
        for spot in spots:
            by_day.setdefault(f"{spot:%m-%d}", []).append(f"{spot:%H:%M}")
        whole = list(by_day.values())[1:-1]
        assert len(whole) >= 9
        for times in whole:
            assert len(times) == 3, (shop.name, by_day)
            for heard, due in zip(times, ("01:30", "02:30", "12:00"), strict=True):
                late = datetime.strptime(heard, "%H:%M") - datetime.strptime(due, "%H:%M")
                assert timedelta() <= late <= SPOT_LATE, (shop.name, times)


def test_spots_by_tracks_come_after_as_many_tracks(world_of: Callable[..., Opened]) -> None:
    world, _, shops = world_of(13)
    world.run(START + 3 * DAY)
    for shop in shops.values():
        between = 0
        counts = []
        for play in shop.plays:
            if play.campaign == "oferta":
                counts.append(between)
                between = 0
            elif play.playlist:
                between += 1
        assert counts[1:] and set(counts[1:]) == {5}, (shop.name, counts)


def test_a_clock_that_lost_its_battery_brings_nothing_back(world_of: Callable[..., Opened]) -> None:
    world, cloud, shops = world_of(17)
    shop = shops["lisboa"]
    windowed = {"valid_from": None, "valid_until": "2026-10-26T12:00", "licence_until": None}
    cloud.change((Asset, "a001", windowed))
    world.run(START + 5 * DAY)
    shop.go_offline(5 * DAY)
    shop.lose_power(HOUR, clock_lost=True)
    world.run(START + 9 * DAY)
    assert not world.breaches, told(world)
    assert shop.clock.year == 1974 or shop.clock.year == 1970
    assert shop.believed > START + 8 * DAY
    assert max(p.at for p in shop.plays if p.asset == "a001") < datetime(
        2026, 10, 26, 12, tzinfo=UTC
    )
    world.run(START + 11 * DAY)
    assert shop.clock_right
