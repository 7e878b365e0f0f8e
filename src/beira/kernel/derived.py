"""The collection that a rollup makes: declared once for node and cloud, by the declaration it is of."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from beira.kernel.collection import (
    NORMAL,
    UP,
    Collection,
    FieldType,
    Flow,
    collection,
    collection_of,
)
from beira.kernel.errors import Invalid
from beira.kernel.record import State
from beira.kernel.rollup import COUNT, FIGURES, HOUR, SUFFIX, figure


def with_rollups(declared: Iterable[Collection]) -> Iterator[Collection]:
    """The collections, each followed by its figures by the hour if it has any."""
    for item in declared:
        yield item
        if item.rollup is not None:
            yield derived(item)


def derived(item: Collection) -> Collection:
    """The figures of `item`: only goes up, in no hurry, readable by whom `item` is readable.

    Raises Invalid for a rollup of fields that are not there or not of the type they must have.
    """
    rollup = item.rollup
    assert rollup is not None
    if not item.is_fact or item.flow is not Flow.LOCAL:
        raise Invalid(
            f"{item.name} has a rollup, so it must hold facts that stay on the node (flow=LOCAL).",
            code="rollup.flow",
        )
    _require(item, rollup.at, FieldType.TIMESTAMP)
    for name in rollup.of:
        _require(item, name, FieldType.INTEGER, FieldType.REAL)
    for name in rollup.by:
        _require(item, name, *(kind for kind in FieldType if kind is not FieldType.JSON))
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [(HOUR, datetime)]
    fields += [(name, item.fields[name].python_type) for name in rollup.by]
    fields.append((COUNT, int, 0))
    fields += [(figure(name, each), float | None, None) for name in rollup.of for each in FIGURES]
    record = msgspec.defstruct(
        f"{item.record.__name__}ByHour", fields, bases=(State,), kw_only=True, module=__name__
    )
    record.__doc__ = f"Figures of {item.name} by the hour; the records stay on their node."
    made = collection(
        item.name + SUFFIX, flow=UP, lane=NORMAL, partition=item.scope, read=item.read, write=()
    )
    return collection_of(made(typing.cast("type[State]", record)))


def _require(item: Collection, name: str, *kinds: FieldType) -> None:
    found = item.fields.get(name)
    if found is None or found.type not in kinds:
        wanted = " or ".join(kind.value for kind in kinds)
        raise Invalid(
            f"The rollup of {item.name} names {name}, which must be a field of type {wanted}.",
            code="rollup.field",
        )
