"""The collections that the store's tests use: one of each sort, with a field of every type."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.collection import (
    BOTH,
    CRITICAL,
    DOWN,
    IMPORTANT,
    LOCAL,
    NORMAL,
    TENANT,
    UP,
    Lane,
    MergeOrder,
    Registry,
    collection,
    collection_of,
)
from beira.kernel.record import Fact, Row, State


@collection("sales", flow=UP, lane=IMPORTANT)
class Sale(Fact):
    """A fact."""

    product: str
    cents: int
    at: datetime


@collection("things", flow=BOTH, lane=NORMAL)
class Thing(State):
    """A state with every type of field, each of which may be null."""

    name: str | None = None
    number: int | None = None
    ratio: float | None = None
    open: bool | None = None
    at: datetime | None = None
    day: date | None = None
    data: dict[str, Any] | None = None


@collection("alarms", flow=BOTH, lane=CRITICAL, order=MergeOrder.URGENT)
class Alarm(State):
    """A state in which the more urgent write wins."""

    level: str = ""
    seen: bool = False


@collection("prices", flow=DOWN, partition=TENANT)
class Price(State):
    """A state that the cloud owns."""

    cents: int = 0


@collection("notes", flow=LOCAL)
class Note(State):
    """A state that never leaves its node."""

    text: str = ""


REGISTRY = Registry(collection_of(record) for record in (Sale, Thing, Alarm, Price, Note))

T0 = 1_790_000_000_000
"""A moment in 2026, in milliseconds."""


def stamp(ms: int = 0, *, lane: Lane = NORMAL, node: str = "n1") -> Stamp:
    """The stamp of a write `ms` milliseconds after T0."""
    return Stamp(hlc_at(T0 + ms), int(lane), node)


def row(
    collection: str,
    id: str,
    fields: dict[str, Any],
    *,
    ms: int = 0,
    lane: Lane = NORMAL,
    node: str = "n1",
    partition: str = "site:1",
) -> Row:
    """A row all of whose fields were written at once."""
    return Row(
        collection=collection,
        id=id,
        partition=partition,
        fields=fields,
        stamp=stamp(ms, lane=lane, node=node),
    )


def sale(
    id: str, *, ms: int = 0, cents: int = 100, lane: Lane = IMPORTANT, node: str = "n1"
) -> Row:
    fields = {"product": "café", "cents": cents, "at": "2026-11-20T14:30:00Z"}
    return row("sales", id, fields, ms=ms, lane=lane, node=node)


def thing(
    id: str, *, ms: int = 0, node: str = "n1", partition: str = "site:1", **fields: Any
) -> Row:
    """A whole thing: what is not given is null."""
    empty = dict.fromkeys(("name", "number", "ratio", "open", "at", "day", "data"))
    return row("things", id, {**empty, **fields}, ms=ms, node=node, partition=partition)


def part(id: str, *, ms: int, node: str = "n1", **fields: Any) -> Row:
    """Some fields of a thing."""
    return row("things", id, fields, ms=ms, node=node)


def by_lane(row: Row) -> str:
    """A node's route: a stream for each lane."""
    return f"up:{row.stamp.lane}"


def one_stream(row: Row) -> str:
    return "s"
