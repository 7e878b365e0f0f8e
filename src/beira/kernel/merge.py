"""Merging two rows of one record: a join, so that replay and reordering are harmless (law 3).

A state merges field by field; the greater (stamp, value) wins. A fact merges whole; the smaller
wins, so that what was written first stays. Both are commutative, associative and idempotent, which
tests/property/test_merge.py holds them to.
"""

from __future__ import annotations

import msgspec

from beira.kernel.clock import Stamp
from beira.kernel.collection import Collection, MergeOrder
from beira.kernel.errors import Conflict
from beira.kernel.record import Row, Value


def merge(collection: Collection, old: Row | None, new: Row) -> Row:
    """The join of two rows of one record.

    Raises: Conflict `partition.fixed` for rows of different partitions, Conflict `fact.taken` for
    facts of different nodes: neither can come of honest writing.
    """
    if old is None:
        return new
    if old.partition != new.partition:
        raise Conflict(
            f"{collection.name} {new.id} belongs to {old.partition}, not {new.partition}.",
            code="partition.fixed",
            hint="A record never moves between partitions: write a new one and delete this.",
        )
    if collection.is_fact:
        if old.stamp.node != new.stamp.node:
            raise Conflict(
                f"{collection.name} {new.id} was written by {old.stamp.node}.",
                code="fact.taken",
                hint="A fact belongs to the node that wrote it: give the new one an id of its own.",
            )
        return min(old, new, key=lambda row: _weight(collection, row.stamp, row.fields))
    return _merge_fields(collection, old, new)


def changed_fields(before: Row | None, after: Row) -> frozenset[str]:
    """The fields whose value or stamp differ; none means the merge taught nothing new."""
    if before is None:
        return frozenset(after.fields)
    return frozenset(
        name
        for name, value in after.fields.items()
        if name not in before.fields
        or before.fields[name] != value
        or before.stamp_of(name) != after.stamp_of(name)
    )


def _merge_fields(collection: Collection, old: Row, new: Row) -> Row:
    fields: dict[str, Value] = {}
    stamps: dict[str, Stamp] = {}
    for name in old.fields.keys() | new.fields.keys():
        sides = [row for row in (old, new) if name in row.fields]
        winner = max(
            sides, key=lambda row: _weight(collection, row.stamp_of(name), row.fields[name])
        )
        fields[name] = winner.fields[name]
        stamps[name] = winner.stamp_of(name)
    return Row.of(old.collection, old.id, old.partition, fields, stamps)


def _weight(collection: Collection, stamp: Stamp, value: Value) -> tuple[int, int, str, bytes]:
    """A total order: the value itself settles two writes under one stamp (a cloned node)."""
    first, second = stamp.hlc, stamp.lane
    if collection.order is MergeOrder.URGENT:
        first, second = second, first
    return first, second, stamp.node, msgspec.json.encode(value, order="deterministic")
