"""The commands that raise alerts, and those that only tell: the day so far, help, the time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from beira.sdk import (
    CRITICAL,
    Alert,
    Column,
    Context,
    Invalid,
    Measure,
    Personal,
    Query,
    command,
    timestamp,
    where,
)

ANYONE = ("owner", "member")
TEXT_CHARS = 1_000
EmergencyKind = Literal["medical", "fire", "other"]
SecurityKind = Literal["robbery", "threat", "other"]

_TITLES = {
    "emergency.medical": "Emergência médica", "emergency.fire": "Incêndio",
    "emergency.other": "Emergência", "security.robbery": "Assalto ou furto",
    "security.threat": "Ameaça à segurança", "security.other": "Alerta de segurança",
    "failure": "Falha",
}  # fmt: skip


class AlertTold(msgspec.Struct, kw_only=True):
    """An alert as it was written; it goes out before everything else."""

    told: str
    alert: str
    title: str
    thing: str = ""


@command(roles=ANYONE, lane=CRITICAL)
async def raise_emergency(
    ctx: Context, kind: EmergencyKind = "other", text: Annotated[str, Personal] = ""
) -> AlertTold:
    """Raises an emergency: somebody hurt, a fire, anything that needs help now."""
    return _raised(ctx, "emergency", kind, text)


@command(roles=ANYONE, lane=CRITICAL)
async def raise_security_alert(
    ctx: Context, kind: SecurityKind = "other", text: Annotated[str, Personal] = ""
) -> AlertTold:
    """Raises a security alert. It is answered quietly."""
    return _raised(ctx, "security", kind, text)


@command(roles=ANYONE, lane=CRITICAL)
async def report_failure(
    ctx: Context, thing: str, text: Annotated[str, Personal] = ""
) -> AlertTold:
    """Reports that something of the shop's has failed: a till, a scale, the internet."""
    thing = " ".join(thing.split())
    if not thing or len(thing) > 120:
        raise Invalid("What has failed?", code="failure.thing", hint="1 to 120 characters.")
    alert = _alert(ctx, "failure", f"{_TITLES['failure']}: {thing}", text)
    return AlertTold(told="report_failure", alert=alert.id, title=alert.title, thing=thing)


def _raised(ctx: Context, sort: str, kind: str, text: str) -> AlertTold:
    alert = _alert(ctx, f"{sort}.{kind}", _TITLES[f"{sort}.{kind}"], text)
    return AlertTold(told=f"raise_{sort}.{kind}", alert=alert.id, title=alert.title)


def _alert(ctx: Context, kind: str, title: str, text: str) -> Alert:
    if len(text) > TEXT_CHARS:
        raise Invalid(f"A text here has {TEXT_CHARS} characters at most.", code="text.too_long")
    by = ctx.principal
    node = by.id if by.kind.value == "node" else ""
    return ctx.put(
        Alert(kind=kind, level="critical", title=title, at=ctx.now(), text=text, node=node),
        lane=CRITICAL,
    )


class DayTold(msgspec.Struct, kw_only=True):
    """A day at this site so far."""

    told: str
    sales: int
    total_cents: int
    punches: int
    requests: int
    alerts: int


@command(roles=ANYONE)
async def daily_summary(ctx: Context) -> DayTold:
    """Tells of today here: sales and takings, punches, requests, alerts."""
    local = ctx.now().astimezone(ctx.zone)
    since = timestamp(local.replace(hour=0, minute=0, second=0, microsecond=0))
    sales, total = await _since(ctx, "sales", since, "total_cents")
    punches, _ = await _since(ctx, "punches", since)
    requests, _ = await _since(ctx, "customer_requests", since)
    alerts, _ = await _since(ctx, "alerts", since)
    told = "daily_summary" if sales or punches or requests else "daily_summary.empty"
    return DayTold(told=told, sales=sales, total_cents=total, punches=punches, requests=requests,
                   alerts=alerts)  # fmt: skip


async def _since(ctx: Context, collection: str, since: str, of: str = "") -> tuple[int, int]:
    """How many records since a moment, and the sum of a field of theirs."""
    columns = [Column(alias="n", measure=Measure.COUNT)]
    if of:
        columns.append(Column(of, alias="total", measure=Measure.SUM))
    page = await ctx.query(
        Query(collection=collection, columns=tuple(columns), where=where(at__gte=since))
    )
    row = page.rows[0] if page.rows else {}
    return int(row.get("n") or 0), int(row.get("total") or 0)


class Told(msgspec.Struct, kw_only=True):
    """Nothing but the wording's name."""

    told: str


@command(roles=(*ANYONE, "guest"), name="help")
async def tell_help(ctx: Context) -> Told:
    """Tells what can be asked."""
    return Told(told="help")


class TimeTold(msgspec.Struct, kw_only=True):
    """The time at the site."""

    told: str
    at: datetime


@command(roles=(*ANYONE, "guest"), name="time")
async def tell_time(ctx: Context) -> TimeTold:
    """Tells the time at the shop."""
    return TimeTold(told="time", at=ctx.now())
