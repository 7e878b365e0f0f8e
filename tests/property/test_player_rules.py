"""The laws of choosing (beira.apps.player.rules), over libraries, windows and clocks drawn by chance.

The seven examples of days are in zones and on nights whose clocks jump. The shuffled rule and the
slots' precedence are held against the plainest way of saying them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from beira.apps.player.local_time import moment_of_text, span
from beira.apps.player.manifest import (
    AssetEntry,
    CampaignEntry,
    Entry,
    PlaylistEntry,
    ShopEntry,
    SlotEntry,
)
from beira.apps.player.memory import Choice, Memory
from beira.apps.player.on_disk import OnDisk
from beira.apps.player.program import Program
from beira.apps.player.rules import LATE, choose, next_boundary, preview, sure, upcoming

ZONES = ("America/New_York", "Europe/Lisbon", "America/Sao_Paulo", "Australia/Lord_Howe", "UTC")
DAYS = (date(2026, 3, 8), date(2026, 11, 1), date(2026, 3, 29), date(2026, 10, 25),
        date(2026, 4, 5), date(2026, 10, 4), date(2026, 12, 31))  # fmt: skip
"""When clocks go forward or back, in one zone or another."""

zones = st.sampled_from(ZONES)
days = st.builds(
    lambda day, by: day + timedelta(days=by), st.sampled_from(DAYS), st.integers(-1, 1)
)
of_day = st.sampled_from(
    ["00:00", "00:30", "01:00", "01:30", "01:45", "02:00", "02:30", "03:00", "12:00", "23:30"]
)


def near(day: date) -> st.SearchStrategy[date]:
    return st.integers(-1, 1).map(lambda by: day + timedelta(days=by))


def maybe_times(day: date) -> st.SearchStrategy[str | None]:
    times = st.builds(lambda near_by, at: f"{near_by.isoformat()}T{at}", near(day), of_day)
    return st.none() | times


@st.composite
def assets(draw: st.DrawFn, day: date) -> list[AssetEntry]:
    count = draw(st.integers(0, 9))
    return [
        AssetEntry(
            id=f"a{n}", file=f"f{n}", size_bytes=1, title=f"t{n}",
            duration_ms=draw(st.sampled_from([0, 30_000, 200_000, 1_200_000])),
            artist=draw(st.sampled_from(["", "x", "y", "z"])),
            valid_from=draw(maybe_times(day)), valid_until=draw(maybe_times(day)),
            licence_until=draw(maybe_times(day) | st.just("2026-02-31T29:00")),
        )
        for n in range(count)
    ]  # fmt: skip


def lists() -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from([f"a{n}" for n in range(10)]), max_size=12).map(tuple)


@st.composite
def programmes(draw: st.DrawFn, day: date) -> list[Entry]:
    dates = st.none() | near(day)
    when = {
        "days": st.lists(st.integers(0, 6), max_size=3, unique=True).map(tuple),
        "begins": of_day, "ends": of_day, "first": dates, "last": dates,
    }  # fmt: skip
    made: list[Entry] = [ShopEntry(id="shop", zone=draw(zones)), *draw(assets(day))]
    for name in ("p", "q", "r"):
        made.append(
            PlaylistEntry(
                id=name, name=name, assets=draw(lists()),
                order=draw(st.sampled_from(["ordered", "shuffled"])),
                no_repeat=draw(st.integers(0, 8)), artist_gap=draw(st.integers(0, 3)),
            )
        )  # fmt: skip
    for n in range(draw(st.integers(0, 4))):
        made.append(
            SlotEntry(
                id=f"s{n}", playlist=draw(st.sampled_from(["p", "q", "r", "gone"])),
                nearness=draw(st.integers(0, 3)), use=draw(st.sampled_from(["music", "emergency"])),
                **{key: draw(value) for key, value in when.items()},
            )
        )  # fmt: skip
    for n in range(draw(st.integers(0, 3))):
        made.append(
            CampaignEntry(
                id=f"c{n}", name="", assets=draw(lists()), every_tracks=draw(st.integers(0, 4)),
                at=draw(st.lists(of_day, max_size=3).map(tuple)),
                **{key: draw(value) for key, value in when.items()},
            )
        )  # fmt: skip
    return made


@dataclass
class Shop:
    """A shop as it lives through steps of a clock: what plays, what is on its disk."""

    program: Program
    disk: OnDisk = field(default_factory=lambda: OnDisk(f"f{n}" for n in range(10)))
    memory: Memory = field(default_factory=Memory)
    played: list[tuple[datetime, Choice]] = field(default_factory=list)

    def step(self, clock: datetime) -> Choice:
        at = sure(self.program, self.memory, clock)
        choice = choose(self.program, self.memory, clock, self.disk)
        self.memory.add(choice, at)
        self.played.append((at, choice))
        return choice


moves = st.one_of(
    st.integers(30, 1_500).map(lambda s: ("on", s)),
    st.integers(-90_000, 90_000).map(lambda s: ("on", s)),
    st.sampled_from([-30 * 365 * 86_400, 30 * 365 * 86_400, 40 * 86_400]).map(lambda s: ("on", s)),
    st.integers(0, 9).map(lambda n: ("lost", n)),
    st.integers(0, 9).map(lambda n: ("found", n)),
)
placed = days.flatmap(lambda day: st.tuples(programmes(day), st.just(day)))
"""A programme whose windows and dates lie about a day, and the day."""
stories = st.tuples(placed, st.lists(moves, min_size=1, max_size=40)).map(lambda s: (*s[0], s[1]))


def live(
    entries: list[Entry], day: date, moves: list[tuple[str, int]],
    seen: Callable[[Shop, datetime], None],
) -> Shop:  # fmt: skip
    """`seen` is called before each decision, with the clock's time."""
    shop = Shop(Program.of(entries))
    clock = datetime(day.year, day.month, day.day, tzinfo=UTC)
    for what, amount in moves:
        if what == "on":
            clock += timedelta(seconds=amount)
        elif what == "lost":
            shop.disk.discard(f"f{amount}")
        else:
            shop.disk.add(f"f{amount}")
        seen(shop, clock)
        shop.step(clock)
    return shop


@settings(max_examples=100, deadline=None)
@given(story=stories)
def test_laws_1_2_and_7_something_plays_and_nothing_out_of_its_window(
    story: tuple[list[Entry], date, list[tuple[str, int]]],
) -> None:
    def seen(shop: Shop, clock: datetime) -> None:
        choice = choose(shop.program, shop.memory, clock, shop.disk)
        at = sure(shop.program, shop.memory, clock)
        assert at >= clock and all(at >= before for before, _ in shop.played)
        if choice.asset is None:
            assert choice.reason == "jingle"
            return
        assert choice.asset.file in shop.disk
        heard_until = at + timedelta(milliseconds=choice.asset.duration_ms)
        for text in (choice.asset.valid_until, choice.asset.licence_until):
            ends = moment_of_text(text, shop.program.zone) if text else None
            assert not text or (ends is not None and heard_until <= ends)
        if choice.asset.valid_from:
            opens = moment_of_text(choice.asset.valid_from, shop.program.zone)
            assert opens is not None and at >= opens

    live(*story, seen)


windows = days.flatmap(lambda day: st.tuples(maybe_times(day), maybe_times(day), maybe_times(day)))


@settings(max_examples=300, deadline=None)
@given(
    zone=zones,
    texts=windows,
    duration_s=st.sampled_from([0, 30, 200, 1_200]),
    edge=st.integers(0, 2),
    lengths=st.integers(-1, 0),
    off_s=st.integers(-1, 1),
)
def test_law_2_a_track_is_begun_exactly_when_all_of_it_fits(
    zone: str, texts: tuple[str | None, ...], duration_s: int, edge: int, lengths: int, off_s: int
) -> None:
    """About each edge of a window, to the second, and a track's length before it."""
    tz = ZoneInfo(zone)
    opens, *ends = [moment_of_text(text, tz) if text else None for text in texts]
    about = (opens, *ends)[edge]
    if about is None:
        return
    at = about + timedelta(seconds=lengths * duration_s + off_s)
    asset = AssetEntry(id="a", file="f", size_bytes=1, title="", duration_ms=duration_s * 1000,
                       valid_from=texts[0], valid_until=texts[1], licence_until=texts[2])  # fmt: skip
    playlist = PlaylistEntry(id="p", name="", assets=("a",))
    entries = [ShopEntry(id="shop", zone=zone), asset, playlist, SlotEntry(id="s", playlist="p")]
    heard_until = at + timedelta(seconds=duration_s)
    fits = (opens is None or opens <= at) and all(heard_until <= end for end in ends if end)
    chosen = choose(Program.of(entries), Memory(), at, OnDisk(["f"]))
    assert (chosen.asset is not None) == fits


@settings(max_examples=100, deadline=None)
@given(story=stories)
def test_law_8_what_is_kept_between_decisions_changes_none(
    story: tuple[list[Entry], date, list[tuple[str, int]]],
) -> None:
    def seen(shop: Shop, clock: datetime) -> None:
        files = [f"f{n}" for n in range(10) if f"f{n}" in shop.disk]
        anew = Program.of(reversed(story[0]))
        expected = choose(anew, shop.memory.copy(), clock, lambda asset: asset.file in files)
        assert choose(shop.program, shop.memory, clock, OnDisk(files)) == expected
        assert choose(shop.program, shop.memory, clock, shop.disk) == expected

    live(*story, seen)


@settings(max_examples=100, deadline=None)
@given(story=stories)
def test_law_3_a_fixed_time_is_played_once_and_never_late(
    story: tuple[list[Entry], date, list[tuple[str, int]]],
) -> None:
    def seen(shop: Shop, clock: datetime) -> None:
        choice = choose(shop.program, shop.memory, clock, shop.disk)
        at = sure(shop.program, shop.memory, clock)
        for campaign in shop.program.campaigns.values():
            last = shop.memory.spot_at(campaign.id)
            due = [m for m in _times(shop, campaign, at) if m <= at <= m + LATE]
            if any(last is None or last < m for m in due) and _fitting(shop, campaign.assets, at):
                assert choice.campaign

    shop = live(*story, seen)
    zone = shop.program.zone
    campaigns = {c.id: c for c in shop.program.campaigns.values() if c.every_tracks == 0}
    spots = [(at, c.campaign) for at, c in shop.played if c.campaign in campaigns]
    served: set[tuple[str, datetime]] = set()
    for at, campaign in spots:
        day = at.astimezone(zone).date()
        times = {
            moment
            for by in (-1, 0)
            for text in campaigns[campaign].at
            if (moment := _moment(day + timedelta(days=by), text, zone)) <= at <= moment + LATE
        }
        new = {(campaign, moment) for moment in times} - served
        assert new, "a spot without a fixed time of its own"
        served |= new


def _times(shop: Shop, campaign: CampaignEntry, at: datetime) -> list[datetime]:
    """The campaign's fixed times of two days that lie in its days, dates and hours."""
    zone = shop.program.zone
    days = [at.astimezone(zone).date() + timedelta(days=by) for by in (-1, 0)]
    moments = {_moment(day, text, zone) for day in days for text in campaign.at}
    spans = [span(campaign, day + timedelta(days=by), zone) for day in days for by in (-1, 0)]
    return [m for m in moments if any(s and s[0] <= m < s[1] for s in spans)]


def _moment(day: date, of_day: str, zone: object) -> datetime:
    found = moment_of_text(f"{day.isoformat()}T{of_day}", zone)  # type: ignore[arg-type]
    assert found is not None
    return found


@settings(max_examples=100, deadline=None)
@given(story=stories)
def test_law_4_the_slot_in_force_is_the_nearest_the_dated_the_latest_begun(
    story: tuple[list[Entry], date, list[tuple[str, int]]],
) -> None:
    def seen(shop: Shop, clock: datetime) -> None:
        choice = choose(shop.program, shop.memory, clock, shop.disk)
        at = sure(shop.program, shop.memory, clock)
        held = sorted(
            (-slot.nearness, not (slot.first or slot.last), -start.timestamp(), slot.id, slot)
            for slot in shop.program.slots
            for by in (-1, 0)
            if slot.playlist in shop.program.playlists
            for start, end in [_span(slot, at, by, shop.program.zone)]
            if start <= at < end
        )
        music = [one[-1] for one in held if one[-1].use == "music"]
        emergency = [one[-1] for one in held if one[-1].use == "emergency"]
        if choice.reason == "scheduled":
            assert choice.playlist == music[0].playlist
        elif choice.reason == "emergency":
            assert choice.playlist in {slot.playlist for slot in emergency}
        if choice.reason in ("emergency", "jingle") and music:
            assert not _playable(shop, music[0].playlist, at)
        if choice.reason == "jingle":
            assert not any(_playable(shop, slot.playlist, at) for slot in emergency)

    live(*story, seen)


def _span(slot: SlotEntry, at: datetime, by: int, zone: object) -> tuple[datetime, datetime]:
    day = at.astimezone(zone).date() + timedelta(days=by)  # type: ignore[arg-type]
    return span(slot, day, zone) or (at, at)  # type: ignore[arg-type]


def _playable(shop: Shop, playlist: str, at: datetime) -> list[AssetEntry]:
    return _fitting(shop, shop.program.playlists[playlist].assets, at)


def _fitting(shop: Shop, ids: tuple[str, ...], at: datetime) -> list[AssetEntry]:
    """What of a list can play, in its order, each as often as it is there."""
    found = (shop.program.assets.get(one) for one in ids)
    return [a for a in found if a and a.file in shop.disk and shop.program.may_begin(a.id, at)]


@settings(max_examples=100, deadline=None)
@given(story=stories)
def test_law_5_an_ordered_playlist_goes_on_in_its_order(
    story: tuple[list[Entry], date, list[tuple[str, int]]],
) -> None:
    def seen(shop: Shop, clock: datetime) -> None:
        choice = choose(shop.program, shop.memory, clock, shop.disk)
        playlist = shop.program.playlists.get(choice.playlist)
        if choice.asset is None or playlist is None or playlist.order != "ordered":
            return
        at = sure(shop.program, shop.memory, clock)
        known = [one for one in playlist.assets if one in shop.program.assets]
        before = [c.place for _, c in shop.played if c.playlist == playlist.id]
        places = range((before[-1] + 1) if before else 0, 2 * len(known))
        fits = {a.id for a in _playable(shop, playlist.id, at)}
        expected = next(p % len(known) for p in places if known[p % len(known)] in fits)
        assert (choice.place, choice.asset.id) == (expected, known[expected])

    live(*story, seen)


@settings(max_examples=100, deadline=None)
@given(story=stories)
def test_law_6_a_shuffled_playlist_repeats_neither_asset_nor_artist_as_far_as_it_can(
    story: tuple[list[Entry], date, list[tuple[str, int]]],
) -> None:
    def seen(shop: Shop, clock: datetime) -> None:
        choice = choose(shop.program, shop.memory, clock, shop.disk)
        playlist = shop.program.playlists.get(choice.playlist)
        if choice.asset is None or playlist is None or playlist.order != "shuffled":
            return
        tracks = [c.asset for _, c in shop.played if c.playlist and c.asset]
        ago = {
            a.id: min(n for n, b in enumerate(reversed(tracks), 1) if b.id == a.id) for a in tracks
        }
        heard = {a.artist: min(n for n, b in enumerate(reversed(tracks), 1) if b.artist == a.artist)
                 for a in tracks if a.artist}  # fmt: skip
        at = sure(shop.program, shop.memory, clock)
        all_of = _playable(shop, playlist.id, at)
        far = [a for a in all_of if ago.get(a.id, 99) > playlist.no_repeat]
        apart = [a for a in far if heard.get(a.artist, 99) > playlist.artist_gap]
        if apart:
            assert choice.asset in apart
            assert ago.get(choice.asset.id, 99) == max(ago.get(a.id, 99) for a in apart)
        elif far:
            assert choice.asset in far
            assert heard[choice.asset.artist] == max(heard[a.artist] for a in far)
        else:
            assert ago[choice.asset.id] == max(ago[a.id] for a in all_of)

    live(*story, seen)


@settings(max_examples=100, deadline=None)
@given(at=placed, minutes=st.integers(0, 2_000))
def test_between_boundaries_the_clock_changes_nothing(
    at: tuple[list[Entry], date], minutes: int
) -> None:
    entries, day = at
    program, disk, memory = Program.of(entries), OnDisk(f"f{n}" for n in range(10)), Memory()
    now = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes)
    until = next_boundary(program, now)
    assert until > now
    fixed = any(c.at for c in program.campaigns.values())
    for share in (0.0, 0.3, 0.7, 0.999):
        later = now + (until.astimezone(UTC) - now) * share
        same_day = later.astimezone(program.zone).date() == now.astimezone(program.zone).date()
        if same_day and not fixed:
            assert choose(Program.of(entries), memory, later, disk) == choose(
                program, memory, now, disk
            )


@settings(max_examples=100, deadline=None)
@given(at=placed, hours=st.integers(0, 300))
def test_what_will_play_is_wanted_before_it_does(at: tuple[list[Entry], date], hours: int) -> None:
    entries, day = at
    program, start = Program.of(entries), datetime(day.year, day.month, day.day, tzinfo=UTC)
    ahead = timedelta(hours=hours)
    wanted = {asset.id for asset in upcoming(program, Memory(), start, ahead)}
    for previewed in preview(program, Memory(), start, start + ahead):
        asset = previewed.choice.asset
        assert asset is None or asset.id in wanted


@settings(max_examples=50, deadline=None)
@given(at=placed)
def test_a_preview_is_what_then_plays(at: tuple[list[Entry], date]) -> None:
    entries, day = at
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    shop = Shop(Program.of(entries))
    for previewed in preview(shop.program, shop.memory, start, start + timedelta(hours=6)):
        assert shop.step(previewed.at) == previewed.choice


def _library(count: int, artists: int, **how: int) -> list[Entry]:
    made: list[Entry] = [
        AssetEntry(id=f"a{n}", file=f"f{n}", size_bytes=1, title="", duration_ms=200_000,
                   artist=f"artist {n % artists}")
        for n in range(count)
    ]  # fmt: skip
    playlist = PlaylistEntry(id="p", name="", assets=tuple(f"a{n}" for n in range(count)),
                             order="shuffled", **how)  # fmt: skip
    return [*made, playlist, SlotEntry(id="s", playlist="p")]


def test_shops_differ_days_differ_and_runs_repeat() -> None:
    def first(shop: str, day: int) -> list[str]:
        program = Program.of(_library(200, 50, no_repeat=50, artist_gap=2), shop=shop)
        start = datetime(2026, 6, day, 12, tzinfo=UTC)
        steps = preview(program, Memory(), start, start + timedelta(hours=1))
        return [one.choice.asset.id for one in steps if one.choice.asset]

    assert first("one", 1) == first("one", 1)
    assert first("one", 1) != first("two", 1)
    assert first("one", 1) != first("one", 2)


def test_all_of_a_shuffled_playlist_is_heard_before_any_is_heard_again() -> None:
    program = Program.of(_library(300, 40, no_repeat=50, artist_gap=3))
    start = datetime(2026, 6, 1, tzinfo=UTC)
    steps = preview(program, Memory(), start, start + timedelta(seconds=200 * 300))
    heard = [one.choice.asset for one in steps if one.choice.asset]
    assert len({asset.id for asset in heard}) >= 299
    for n, asset in enumerate(heard):
        assert asset.artist not in {a.artist for a in heard[max(0, n - 3) : n]} or n > 280


def test_a_choice_looks_at_few_of_many() -> None:
    """No pass over the library at a decision: the pool's own work is counted."""
    looked = 0

    class Counted(OnDisk):
        def __call__(self, asset: AssetEntry) -> bool:
            nonlocal looked
            looked += 1
            return super().__call__(asset)

    entries = _library(5_000, 1_000, no_repeat=50, artist_gap=2)
    program, memory, now = Program.of(entries), Memory(), datetime(2026, 6, 1, tzinfo=UTC)
    disk = Counted(f"f{n}" for n in range(0, 5_000, 7))
    memory.add(choose(program, memory, now, disk), now)
    looked = 0
    for n in range(200):
        disk.discard(f"f{7 * n}")
        disk.add(f"f{7 * n + 1}")
        memory.add(choose(program, memory, now, disk), now)
    assert looked <= 200 * 4


def test_a_clock_that_ran_ahead_is_put_right_when_the_time_is_known() -> None:
    campaign = CampaignEntry(id="c", name="", assets=("a0",), at=("12:00",))
    shop = Shop(Program.of([*_library(5, 5), campaign, ShopEntry(id="s", zone="Europe/Lisbon")]))
    shop.step(datetime(2036, 6, 1, 11, 5, tzinfo=UTC))
    now = datetime(2026, 6, 1, 11, 5, tzinfo=UTC)
    assert sure(shop.program, shop.memory, now).year == 2036
    shop.memory.trust(now)
    assert sure(shop.program, shop.memory, now) == now
    later = datetime(2026, 6, 2, 11, 5, tzinfo=UTC)
    assert choose(shop.program, shop.memory, later, shop.disk).reason == "campaign"


def test_a_skipped_time_comes_when_the_clock_has_jumped_and_a_repeated_one_once() -> None:
    zone = ZoneInfo("America/New_York")
    campaign = CampaignEntry(id="c", name="", assets=("a0",), at=("02:30", "01:30"))

    def spots(day: date) -> list[datetime]:
        program = Program.of([*_library(5, 5), campaign, ShopEntry(id="s", zone=zone.key)])
        start = datetime(day.year, day.month, day.day, tzinfo=zone)
        steps = preview(program, Memory(), start, start.astimezone(UTC) + timedelta(hours=6))
        return [one.at for one in steps if one.choice.campaign]

    forward = spots(date(2026, 3, 8))
    assert [at.strftime("%H") for at in forward] == ["01", "03"]
    back = spots(date(2026, 11, 1))
    assert [(at.strftime("%H"), at.fold) for at in back] == [("01", 0), ("02", 0)]
