"""A shop's programme: its manifest's entries laid out so that what holds now is found at once. Pure.

What a day's clock decides is worked out once until the clock changes it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, TypeVar

from beira.apps.player.local_time import (
    DAY,
    EARLIEST,
    NEVER,
    Timed,
    at_time,
    begun,
    day_of,
    moment_of_text,
    span,
    within_reason,
    zone_of,
)
from beira.apps.player.manifest import (
    AssetEntry,
    CampaignEntry,
    Entry,
    PlaylistEntry,
    ShopEntry,
    SlotEntry,
)

if TYPE_CHECKING:
    from beira.apps.player.pools import Pool

_T = TypeVar("_T", SlotEntry, CampaignEntry)
_Rank = tuple[int, bool, float, str]
STANDS = timedelta(hours=12)
"""What holds now is looked at again after so long at the latest."""
CLOSED = EARLIEST - DAY
LONGEST_MS = 86_400_000


@dataclass(frozen=True)
class Window:
    """An asset may be heard from `opens` until before `closes`; it is not begun after `last_start`,
    for it would be heard beyond."""

    opens: datetime
    closes: datetime
    last_start: datetime


@dataclass(frozen=True)
class InForce:
    """What the clock says from `since` until before `until`: slots by precedence, campaigns by id."""

    since: datetime
    until: datetime
    music: tuple[SlotEntry, ...]
    emergency: tuple[SlotEntry, ...]
    campaigns: tuple[CampaignEntry, ...]


@dataclass(frozen=True)
class Ahead:
    """What will hold between two moments, each once, in the order of its first time."""

    music: list[SlotEntry]
    emergency: list[SlotEntry]
    campaigns: list[CampaignEntry]


@dataclass
class Program:
    """All that a shop may play, and when. `shop` tells it from others: each has an order of its own."""

    zone: tzinfo
    shop: str
    issued_at: datetime
    assets: dict[str, AssetEntry]
    playlists: dict[str, PlaylistEntry]
    slots: list[SlotEntry]
    campaigns: dict[str, CampaignEntry]
    windows: dict[str, Window] = field(default_factory=dict)
    changes: list[datetime] = field(default_factory=list)
    pools: dict[str, Pool] = field(default_factory=dict, compare=False)
    _in_force: InForce | None = field(default=None, compare=False)
    _fixed: tuple[date, list[tuple[datetime, str]]] | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls, entries: Iterable[Entry], *, shop: str = "", issued_at: datetime = EARLIEST,
        zone: tzinfo = UTC,
    ) -> Program:  # fmt: skip
        """Of a manifest's entries, its head's `issued_at` and the node's id. `zone` is used if the
        entries name none that this machine knows."""
        made = cls(zone, shop, within_reason(issued_at), {}, {}, [], {})
        for entry in entries:
            if isinstance(entry, AssetEntry):
                made.assets[entry.id] = entry
            elif isinstance(entry, PlaylistEntry):
                made.playlists[entry.id] = entry
            elif isinstance(entry, SlotEntry):
                made.slots.append(entry)
            elif isinstance(entry, CampaignEntry):
                made.campaigns[entry.id] = entry
            elif isinstance(entry, ShopEntry):
                made.zone, made.shop = zone_of(entry.zone, zone), shop or entry.id
        made._lay_out_windows()
        return made

    def twin(self) -> Program:
        """The same, to be tried with another memory."""
        return Program(self.zone, self.shop, self.issued_at, self.assets, self.playlists,
                       self.slots, self.campaigns, self.windows, self.changes)  # fmt: skip

    def _lay_out_windows(self) -> None:
        for asset in self.assets.values():
            if asset.valid_from or asset.valid_until or asset.licence_until:
                self.windows[asset.id] = _window(asset, self.zone)
        moments = {m for w in self.windows.values() for m in (w.opens, w.last_start, w.closes)}
        self.changes = sorted(moments)

    def may_begin(self, asset: str, now: datetime) -> bool:
        """Whether it lies within its window and licence at this moment (UTC), and to its end."""
        window = self.windows.get(asset)
        return window is None or window.opens <= now <= window.last_start

    def closes(self, asset: str) -> datetime:
        """When it must not be heard any more (UTC), paused or not."""
        window = self.windows.get(asset)
        return window.closes if window else NEVER

    def in_force(self, now: datetime) -> InForce:
        """What holds at this moment (UTC)."""
        held = self._in_force
        if held is None or not held.since <= now < held.until:
            held = self._in_force = self._look(now)
        return held

    def _look(self, now: datetime) -> InForce:
        slots = [slot for _, slot in sorted(self._begun(now), key=lambda one: one[0])]
        timed: list[Timed] = [*self.slots, *self.campaigns.values()]
        changes = [moment for one in timed for moment in self._edges(one, now)]
        return InForce(
            since=now,
            until=min([now + STANDS, *(m for m in changes if m > now)]),
            music=tuple(s for s in slots if s.use == "music"),
            emergency=tuple(s for s in slots if s.use == "emergency"),
            campaigns=tuple(c for _, c in sorted(self.campaigns.items())
                            if begun(c, now, self.zone) is not None),
        )  # fmt: skip

    def _begun(self, now: datetime) -> Iterable[tuple[_Rank, SlotEntry]]:
        for slot in self.slots:
            start = begun(slot, now, self.zone)
            if start is not None and slot.playlist in self.playlists:
                yield _rank(slot, start), slot

    def between(self, since: datetime, until: datetime) -> Ahead:
        """What holds at some moment from `since` to `until` (UTC). A slot does only where it wins."""
        music = [s for s in self.slots if s.use == "music" and s.playlist in self.playlists]
        held: dict[_Rank, SlotEntry] = {}
        won: dict[str, SlotEntry] = {}
        edges = self._starts_and_ends(music, since, until)
        for at, (moment, begins, slot, start) in enumerate(edges):
            if begins:
                held[_rank(slot, start)] = slot
            else:
                held.pop(_rank(slot, start), None)
            settled = at + 1 == len(edges) or edges[at + 1][0] > max(moment, since)
            if settled and held and moment <= until:
                first = held[min(held)]
                won.setdefault(first.id, first)
        emergency = [s for s in self.slots if s.use == "emergency" and s.playlist in self.playlists]
        campaigns = list(self.campaigns.values())
        return Ahead(
            list(won.values()),
            _each(self._starts_and_ends(emergency, since, until)),
            _each(self._starts_and_ends(campaigns, since, until)),
        )

    def _starts_and_ends(
        self, timed: Iterable[_T], since: datetime, until: datetime
    ) -> list[tuple[datetime, bool, _T, datetime]]:
        """Of all spans that touch the time from `since` to `until`: when each begins (True) and ends
        (False), and when it began. Ends before beginnings."""
        days = (day_of(until, self.zone) - day_of(since, self.zone)).days
        first = day_of(since, self.zone) - DAY
        found = []
        for one in timed:
            for day in range(days + 2):
                held = span(one, first + day * DAY, self.zone)
                if held and held[0] < held[1] and held[1] > since and held[0] <= until:
                    found += [(held[0], True, one, held[0]), (held[1], False, one, held[0])]
        return sorted(found, key=lambda edge: (edge[0], edge[1], edge[2].id))

    def _edges(self, timed: Timed, now: datetime) -> Iterable[datetime]:
        today = day_of(now, self.zone)
        for day in (today - DAY, today, today + DAY):
            yield from span(timed, day, self.zone) or ()

    def fixed_times(self, now: datetime) -> list[tuple[datetime, str]]:
        """The campaigns' fixed times from yesterday to tomorrow by the shop's calendar, in order."""
        today = day_of(now, self.zone)
        if self._fixed is None or self._fixed[0] != today:
            days = (today - DAY, today, today + DAY)
            found = {
                (moment, campaign.id)
                for campaign in self.campaigns.values()
                for day in days
                for of_day in campaign.at
                if begun(campaign, moment := at_time(day, of_day, self.zone), self.zone)
            }
            self._fixed = today, sorted(found)
        return self._fixed[1]

    def next_change(self, now: datetime) -> datetime:
        """The first moment after this one at which the clock alone may change what is chosen."""
        fixed = self.fixed_times(now)
        following = [self.in_force(now).until]
        following += [moment for moment, _ in fixed[bisect_right(fixed, (now, "\uffff")) :][:1]]
        following += self.changes[bisect_right(self.changes, now) :][:1]
        return min(following)

    def fixed_within(self, since: datetime, now: datetime) -> list[tuple[datetime, str]]:
        """The fixed times from `since` to `now`, both included."""
        fixed = self.fixed_times(now)
        return fixed[bisect_left(fixed, (since, "")) : bisect_right(fixed, (now, "\uffff"))]


def _rank(slot: SlotEntry, start: datetime) -> _Rank:
    """Less wins: of a nearer place, then with dates, then begun later, then by id."""
    return (-slot.nearness, not (slot.first or slot.last), -start.timestamp(), slot.id)


def _each(edges: Iterable[tuple[datetime, bool, _T, datetime]]) -> list[_T]:
    return list({one.id: one for _, begins, one, _ in edges if begins}.values())


def _window(asset: AssetEntry, zone: tzinfo) -> Window:
    """A time that cannot be read opens nothing."""
    opens = moment_of_text(asset.valid_from, zone) if asset.valid_from else EARLIEST
    ends = [moment_of_text(t, zone) for t in (asset.valid_until, asset.licence_until) if t]
    closes = min((end or CLOSED for end in ends), default=NEVER)
    if opens is None:
        opens, closes = NEVER, CLOSED
    length = timedelta(milliseconds=min(max(asset.duration_ms, 0), LONGEST_MS))
    return Window(opens, closes, closes - length)
