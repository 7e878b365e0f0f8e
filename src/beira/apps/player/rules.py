"""What a shop plays next: from what it holds, what it played, and the hour it is. Pure.

The laws, which tests/property/test_player_rules.py holds it to:

1. Something always plays: if nothing else can, the jingle that is in the package.
2. Nothing is begun before its window opens, nor so late that it would be heard beyond its window or
   licence; nor what is not whole on the disk.
3. Fixed times come first, each once, at the first track that ends after it, within 15 minutes; then
   the campaigns that are due by tracks, the one that has waited longest first.
4. Then the slot in force: of the nearest place, then one with dates, then the one that began last. If
   nothing of its playlist can be played, the emergency slots' playlists.
5. An ordered playlist goes on after what it gave last, and passes over what cannot be played.
6. A shuffled playlist gives none within `no_repeat` tracks, and no artist within `artist_gap`, as far
   as there are enough, and of all those what was heard longest ago.
7. Time does not go behind the programme's issue nor behind the last play.
8. Equal programmes, memories, hours and files give equal choices, however one came to them.

Announcements cut in by themselves; what they cut is not chosen anew. docs/explanation/player-choosing.md
has the rules as a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from beira.apps.player.local_time import LATEST, within_reason
from beira.apps.player.manifest import AssetEntry, CampaignEntry, SlotEntry
from beira.apps.player.memory import JINGLE, Choice, Memory
from beira.apps.player.pools import Playable, Pool, Ring, Rotation
from beira.apps.player.program import Program

LATE = timedelta(minutes=15)
"""A fixed time missed by more is not made up."""
SOON_TRACKS = 20
"""Of what plays now, fetched before the emergency playlists: an hour's."""
PREVIEW_MOST = 5_000
"""Steps of a preview."""
SHORTEST = timedelta(seconds=1)


def sure(program: Program, memory: Memory, now: datetime) -> datetime:
    """The time to decide by, in UTC: the clock's, unless that is behind what is known to have been.
    Whoever plays adds what it lacks (`sure` minus the clock's time, once) to the clock from then on,
    so that time goes on; `memory.trust` takes back what a clock that ran ahead did."""
    known = [within_reason(now), program.issued_at]
    return max([*known, memory.latest] if memory.latest else known)


def choose(program: Program, memory: Memory, now: datetime, playable: Playable) -> Choice:
    """What to play at this moment. `playable` says whether an asset's file is whole on the disk; an
    OnDisk says so at once for whole libraries."""
    at = min(sure(program, memory, now), LATEST)
    return (
        _fixed_spot(program, memory, at, playable)
        or _counted_spot(program, memory, at, playable)
        or _track(program, memory, at, playable)
        or JINGLE
    )


def _fixed_spot(
    program: Program, memory: Memory, at: datetime, playable: Playable
) -> Choice | None:
    for moment, campaign in program.fixed_within(at - LATE, at):
        last = memory.spot_at(campaign)
        if last is None or last < moment:
            found = _spot(program, memory, program.campaigns[campaign], at, playable)
            if found:
                return found
    return None


def _counted_spot(
    program: Program, memory: Memory, at: datetime, playable: Playable
) -> Choice | None:
    due = [
        campaign
        for campaign in program.in_force(at).campaigns
        if 0 < campaign.every_tracks <= memory.tracks_since_spot(campaign.id)
    ]
    due.sort(key=lambda campaign: (-memory.tracks_since_spot(campaign.id), campaign.id))
    spots = (_spot(program, memory, campaign, at, playable) for campaign in due)
    return next((spot for spot in spots if spot), None)


def _spot(
    program: Program, memory: Memory, campaign: CampaignEntry, at: datetime, playable: Playable
) -> Choice | None:
    key = f"campaign:{campaign.id}"
    pool = program.pools.get(key)
    if pool is None:
        pool = program.pools[key] = Ring(program, campaign.assets, key)
    found = pool.next(memory, playable, at)
    return found and Choice(found[0], "campaign", campaign=campaign.id, place=found[1])


def _track(program: Program, memory: Memory, at: datetime, playable: Playable) -> Choice | None:
    held = program.in_force(at)
    for slot in held.music[:1]:
        found = _pool(program, slot.playlist).next(memory, playable, at)
        if found:
            return Choice(found[0], "scheduled", playlist=slot.playlist, place=found[1])
    for slot in held.emergency:
        found = _pool(program, slot.playlist).next(memory, playable, at)
        if found:
            return Choice(found[0], "emergency", playlist=slot.playlist, place=found[1])
    return None


def _pool(program: Program, playlist: str) -> Pool:
    key = f"playlist:{playlist}"
    pool = program.pools.get(key)
    if pool is None:
        entry = program.playlists[playlist]
        pool = program.pools[key] = (
            Ring(program, entry.assets, key)
            if entry.order == "ordered"
            else Rotation(program, entry.assets, entry.no_repeat, entry.artist_gap)
        )
    return pool


def next_boundary(program: Program, now: datetime) -> datetime:
    """The first moment after this one at which the clock alone may change what is chosen, in the
    shop's zone: a slot or campaign begins or ends, a fixed time comes, a window opens or closes."""
    return program.next_change(within_reason(now)).astimezone(program.zone)


def upcoming(program: Program, memory: Memory, now: datetime, ahead: timedelta) -> list[AssetEntry]:
    """The assets whose files are wanted, first what is needed first: an hour of what plays now and
    its spots, the emergency playlists, then all that plays within `ahead` in the order of its first
    time. Each once; none that will have expired or not begun by then."""
    at = sure(program, memory, now)
    until = at + ahead
    ahead_of = program.between(at, until)
    now_playing = program.in_force(at)
    current = _in_order(program, memory, now_playing.music[:1], at)
    begins = [asset for asset in current if _plays_between(program, asset, at, at)]
    wanted: list[AssetEntry] = begins[:SOON_TRACKS]
    wanted += _spots(program, now_playing.campaigns)
    wanted += _in_order(program, memory, ahead_of.emergency, at)
    wanted += _in_order(program, memory, ahead_of.music, at)
    wanted += _spots(program, ahead_of.campaigns)
    once = {asset.id: asset for asset in wanted}
    return [asset for asset in once.values() if _plays_between(program, asset, at, until)]


def _in_order(
    program: Program, memory: Memory, slots: Iterable[SlotEntry], at: datetime
) -> list[AssetEntry]:
    playlists = dict.fromkeys(slot.playlist for slot in slots)
    return [asset for one in playlists for asset in _pool(program, one).in_order(memory, at)]


def _spots(program: Program, campaigns: Iterable[CampaignEntry]) -> list[AssetEntry]:
    ids = (asset for campaign in campaigns for asset in campaign.assets)
    return [program.assets[one] for one in ids if one in program.assets]


def _plays_between(program: Program, asset: AssetEntry, since: datetime, until: datetime) -> bool:
    window = program.windows.get(asset.id)
    return window is None or (window.opens <= until and window.last_start >= since)


@dataclass(frozen=True)
class Previewed:
    """What will begin at this moment, in the shop's zone. Of a jingle that goes on, the first."""

    at: datetime
    choice: Choice


def preview(program: Program, memory: Memory, start: datetime, until: datetime) -> list[Previewed]:
    """What a shop that has all its files will play from `start` to `until`, having played what is in
    `memory` (which is not changed); PREVIEW_MOST steps at most. Nothing is known of announcements."""
    program, memory = program.twin(), memory.copy()
    at, end = sure(program, memory, start), within_reason(until)
    found: list[Previewed] = []
    while at < end and len(found) < PREVIEW_MOST:
        choice = choose(program, memory, at, _whole)
        found.append(Previewed(at.astimezone(program.zone), choice))
        memory.add(choice, at)
        if choice.asset is None:
            at = next_boundary(program, at).astimezone(UTC)
        else:
            at += max(timedelta(milliseconds=choice.asset.duration_ms), SHORTEST)
    return found


def _whole(asset: AssetEntry) -> bool:
    return True
