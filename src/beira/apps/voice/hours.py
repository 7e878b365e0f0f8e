"""People's hours: clocking in and out, putting a punch right, and how long somebody worked.

A punch is never changed. What it should have been is a further fact, whether said at the counter or
corrected by an owner in the portal. Which punch is meant is never guessed: where several can be, the
likeliest is read back first (`punch.which`).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from beira.apps.voice.lookup import punches_of, the_person
from beira.apps.voice.records import Person, Punch, PunchCorrection, PunchKind
from beira.apps.voice.rules import AHEAD, SHIFT_LONGEST, Worked, effective, next_kind, spent
from beira.sdk import (
    IMPORTANT,
    Conflict,
    Context,
    Invalid,
    NotFound,
    Personal,
    Query,
    Runs,
    command,
    timestamp,
    where,
)

ANYONE = ("owner", "member")
OLDEST_PUNCH = timedelta(hours=36)
TWICE = timedelta(minutes=1)
TEXT_CHARS = 1_000
PUNCHES_NOW = 1_000
Days = Literal["today", "yesterday", "week", "month"]


class Punched(msgspec.Struct, kw_only=True):
    """A punch as it was written, or as it holds now; `was` is when it was before."""

    told: str
    punch: str
    person: str
    employee: str
    kind: PunchKind
    at: datetime
    was: datetime | None = None
    instead_of: str = ""


@command(roles=ANYONE, lane=IMPORTANT)
async def register_punch(
    ctx: Context,
    employee: Annotated[str, Personal],
    at: datetime | None = None,
    kind: PunchKind | None = None,
) -> Punched:
    """Registers a clock-in or clock-out; without `kind`, whichever the last punch makes it."""
    person = await the_person(ctx, employee)
    return await _punched(ctx, person, _moment(ctx, at), kind)


async def _punched(
    ctx: Context, person: Person, moment: datetime, kind: PunchKind | None
) -> Punched:
    held = await punches_of(ctx, person.id)
    again = next((w for w in held if abs(w.at - moment) < TWICE), None)
    if again is not None:
        raise Conflict(
            f"{person.name} already has a punch at that time.",
            code="punch.twice",
            hint="Correct that one if it is wrong.",
            details={"employee": person.name, "at": timestamp(again.at)},
        )
    kind = kind or next_kind(held, moment)
    punch = ctx.put(
        Punch(
            person=person.id, employee=person.name, kind=kind, at=moment, said_at=ctx.now(),
            trace=ctx.trace_id,
        )
    )  # fmt: skip
    return Punched(told="register_punch", punch=punch.id, person=person.id, employee=person.name,
                   kind=kind, at=moment)  # fmt: skip


def _moment(ctx: Context, at: datetime | None) -> datetime:
    now = ctx.now()
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=ctx.zone)
    moment = (at or now).astimezone(UTC).replace(microsecond=0)
    if moment > now + AHEAD:
        raise Invalid(
            "That time is yet to come.", code="punch.future", hint="Say a time that has been."
        )
    if now - moment > OLDEST_PUNCH:
        raise Invalid(
            "That is too long ago for a punch.",
            code="punch.too_old",
            hint="An owner can correct older punches in the portal.",
        )
    return moment


@command(roles=ANYONE, runs=Runs.ANYWHERE, lane=IMPORTANT)
async def correct_punch(
    ctx: Context,
    punch: str = "",
    employee: Annotated[str, Personal] = "",
    at: datetime | None = None,
    kind: PunchKind | None = None,
    void: bool = False,
    reason: Annotated[str, Personal] = "",
    which: PunchKind | None = None,
) -> Punched:
    """Corrects a punch by a further fact: its time, whether in or out, or takes it out (`void`).

    Without `punch` it is one of `employee`'s of late, of the sort `which`; where several can be
    meant, it refuses with the likeliest (`punch.which`). At a node of late punches only; in the
    cloud an owner may correct any.
    """
    found, partition, held = await _the_punch(ctx, punch, employee, at=at, which=which)
    before = held or Worked(found.id, found.person, found.employee, found.kind, found.at, False)
    moment = _corrected_moment(ctx, at or before.at)
    kind = kind or before.kind
    _correction(ctx, found, partition, moment, kind, void=void, reason=reason)
    told = "correct_punch.void" if void else "correct_punch"
    return Punched(told=told if void or moment != before.at else "correct_punch.kind",
                   punch=found.id, person=found.person, employee=found.employee, kind=kind,
                   at=moment, was=before.at)  # fmt: skip


@command(roles=ANYONE, lane=IMPORTANT)
async def cancel_punch(
    ctx: Context,
    punch: str = "",
    employee: Annotated[str, Personal] = "",
    which: PunchKind | None = None,
    reason: Annotated[str, Personal] = "",
) -> Punched:
    """Takes a punch of late out of the days. Without `punch`, like `correct_punch`."""
    found, partition, held = await _the_punch(ctx, punch, employee, which=which)
    if held is None:
        raise Conflict("That punch is cancelled already.", code="punch.cancelled",
                       details={"employee": found.employee})  # fmt: skip
    moment = _corrected_moment(ctx, held.at)
    _correction(ctx, found, partition, moment, held.kind, void=True, reason=reason)
    return Punched(told="cancel_punch", punch=found.id, person=found.person,
                   employee=found.employee, kind=held.kind, at=moment)  # fmt: skip


@command(roles=ANYONE, lane=IMPORTANT)
async def reassign_punch(
    ctx: Context,
    belongs_to: Annotated[str, Personal],
    punch: str = "",
    employee: Annotated[str, Personal] = "",
    kind: PunchKind | None = None,
    reason: Annotated[str, Personal] = "",
) -> Punched:
    """Puts a punch right that was another person's: it is taken out, and `belongs_to` gets one of
    the same time. Without `kind`, whichever that person's last punch makes it."""
    person = await the_person(ctx, belongs_to)
    found, partition, held = await _the_punch(ctx, punch, employee)
    if held is None:
        raise Conflict("That punch is cancelled already.", code="punch.cancelled",
                       details={"employee": found.employee})  # fmt: skip
    if found.person == person.id:
        raise Invalid(f"That punch is {person.name}'s already.", code="punch.same_person",
                      details={"employee": person.name})  # fmt: skip
    moment = _corrected_moment(ctx, held.at)
    made = await _punched(ctx, person, moment, kind)
    _correction(ctx, found, partition, moment, held.kind, void=True, reason=reason,
                instead=made.punch)  # fmt: skip
    return msgspec.structs.replace(made, told="reassign_punch", instead_of=found.employee)


def _correction(
    ctx: Context, found: Punch, partition: str, moment: datetime, kind: PunchKind, *,
    void: bool, reason: str, instead: str = "",
) -> None:  # fmt: skip
    if len(reason) > TEXT_CHARS:
        raise Invalid(f"A text here has {TEXT_CHARS} characters at most.", code="text.too_long")
    ctx.put(
        PunchCorrection(
            punch=found.id, person=found.person, at=moment, kind=kind, void=void, reason=reason,
            by=ctx.principal.name or ctx.principal.id, said_at=ctx.now(), trace=ctx.trace_id,
            instead=instead,
        ),
        partition=partition,
    )  # fmt: skip


def _corrected_moment(ctx: Context, at: datetime) -> datetime:
    if ctx.site is not None:
        return _moment(ctx, at)
    if at.tzinfo is None:
        at = at.replace(tzinfo=ctx.zone)
    if at > ctx.now() + AHEAD:
        raise Invalid(
            "That time is yet to come.", code="punch.future", hint="Give a time that has been."
        )
    return at.astimezone(UTC)


async def _the_punch(
    ctx: Context, id: str, employee: str, *, at: datetime | None = None,
    which: PunchKind | None = None,
) -> tuple[Punch, str, Worked | None]:  # fmt: skip
    """The punch meant, its partition, and how it holds (None: it is taken out)."""
    if ctx.principal.role == "member" and ctx.site is None:
        raise Invalid("Only an owner corrects punches here.", code="punch.owner_only",
                      hint="Ask an owner, or say it at the shop's counter.")  # fmt: skip
    if not id:
        id = await _only_one(ctx, employee, at, which)
    page = await ctx.query(Query(collection="punches", where=where(id=id), limit=1))
    found = await ctx.get(Punch, id)
    if found is None or not page.rows:
        raise NotFound("There is no such punch.", code="punch.none")
    held = next((w for w in await punches_of(ctx, found.person) if w.punch == id), None)
    return found, str(page.rows[0]["_partition"]), held


async def _only_one(
    ctx: Context, employee: str, at: datetime | None, which: PunchKind | None
) -> str:
    """The id of the one punch of late that can be meant. Raises Conflict `punch.which`, with the one
    nearest to the time it should have (or the latest), where there are several."""
    person = await the_person(ctx, employee)
    held = await punches_of(ctx, person.id)
    late = [w for w in held if ctx.site is None or ctx.now() - w.at <= OLDEST_PUNCH]
    day = (at or (late[-1].at if late else ctx.now())).astimezone(ctx.zone).date()
    fitting = [w for w in late if which in (None, w.kind)]
    that_day = [w for w in fitting if w.at.astimezone(ctx.zone).date() == day]
    meant = that_day or fitting
    if not meant:
        raise NotFound(f"{person.name} has no punch to correct.", code="punch.none",
                       details={"employee": person.name})  # fmt: skip
    if len(meant) == 1:
        return meant[0].punch
    wanted = at.replace(tzinfo=at.tzinfo or ctx.zone) if at else None
    chosen = min(meant, key=lambda w: abs(w.at - wanted)) if wanted else meant[-1]
    raise Conflict(
        f"{person.name} has {len(meant)} punches that can be meant.",
        code="punch.which",
        hint=f"Give the punch's id: {chosen.punch} is the likeliest.",
        details=_details(person.name, chosen),
    )


def _details(employee: str, w: Worked) -> dict[str, Any]:
    return {"employee": employee, "punch": w.punch, "at": timestamp(w.at), "kind": w.kind}


class PunchLine(msgspec.Struct, kw_only=True):
    """One punch as it holds."""

    kind: PunchKind
    at: datetime


class HoursTold(msgspec.Struct, kw_only=True):
    """Somebody's hours over some days; `since` is when the shift that still runs began, which counts
    until now. `lacking`: a shift has only one end, and is not counted."""

    told: str
    person: str
    employee: str
    days: Days
    worked_min: int
    punches: list[PunchLine]
    since: datetime | None = None
    lacking: bool = False


@command(roles=ANYONE)
async def hours_worked(
    ctx: Context,
    employee: Annotated[str, Personal],
    days: Days = "today",
    listed: bool = False,
) -> HoursTold:
    """Tells how long somebody worked today, yesterday, this week (from Monday) or this month."""
    person = await the_person(ctx, employee)
    local = ctx.now().astimezone(ctx.zone)
    first, last = _span(days, local.date())
    held = await punches_of(ctx, person.id)
    there = [w for w in held if first <= w.at.astimezone(ctx.zone).date() <= last]
    time, since, lacking = spent(there, ctx.now() if last == local.date() else None)
    how = "none" if not there else "lacking" if lacking else "open" if since else "closed"
    if listed and there and days in ("today", "yesterday"):
        how = "listed"
    return HoursTold(
        told=f"hours_worked.{how}", person=person.id, employee=person.name, days=days,
        worked_min=int(time.total_seconds()) // 60, since=since, lacking=lacking,
        punches=[PunchLine(kind=w.kind, at=w.at) for w in there],
    )  # fmt: skip


def _span(days: Days, today: date) -> tuple[date, date]:
    one = timedelta(days=1)
    if days == "yesterday":
        return today - one, today - one
    first = {"week": today - today.weekday() * one, "month": today.replace(day=1)}.get(days, today)
    return first, today


class InTold(msgspec.Struct, kw_only=True):
    """Who is at work."""

    told: str
    people: list[str]


@command(roles=ANYONE)
async def who_is_in(ctx: Context) -> InTold:
    """Tells who has clocked in here and not yet out."""
    since = timestamp(ctx.now() - SHIFT_LONGEST - timedelta(days=1))
    punches = await ctx.find(Punch, where(said_at__gte=since), newest_first=True, limit=PUNCHES_NOW)
    fixes = await ctx.find(
        PunchCorrection, where(said_at__gte=since), newest_first=True, limit=PUNCHES_NOW
    )
    oldest = ctx.now() - SHIFT_LONGEST
    last = {w.person: w for w in effective(punches, fixes) if w.at >= oldest}
    names = sorted(w.employee for w in last.values() if w.kind == "in")
    return InTold(told="who_is_in" if names else "who_is_in.none", people=names)
