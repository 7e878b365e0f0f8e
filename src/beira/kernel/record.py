"""Nouns: what an app writes (`Fact`, `State`) and the one shape in which it is kept and travels (`Row`).

An app declares a `Fact` or a `State` with typed fields. Inside, every record is a `Row`: some or all
of its fields, each with the stamp of the write that gave it. A stored row has all its fields; a
change on its way has only those that changed. Both merge by the same function (`kernel.merge`).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from beira.kernel.clock import Stamp

Value: TypeAlias = Any
"""What a field holds once encoded: str, int, float, bool, None, or a list or dict of those."""

DELETED = "_deleted"
"""Deletion is a field like any other, so that it merges by the same rule."""


class Record(msgspec.Struct, kw_only=True):
    """Base of what apps declare; use `Fact` or `State`. An empty `id` is filled in at the write."""

    id: str = ""


class Fact(Record, kw_only=True):
    """Written once and never changed: a sale, a punch. Corrections are further facts."""


class State(Record, kw_only=True):
    """Changes field by field; of two writes to one field the later stamp wins."""


class Row(msgspec.Struct, kw_only=True):
    """Some or all of a record's fields with their stamps.

    `stamp` is the greatest of the fields' stamps; `stamps` holds those that differ from it. A field
    absent from `fields` is one this row says nothing of.
    """

    collection: str
    id: str
    partition: str
    fields: dict[str, Value]
    stamp: Stamp
    stamps: dict[str, Stamp] = {}

    @property
    def deleted(self) -> bool:
        return bool(self.fields.get(DELETED, False))

    def stamp_of(self, field: str) -> Stamp:
        return self.stamps.get(field, self.stamp)

    def only(self, names: set[str] | frozenset[str]) -> Row | None:
        """This row with just `names` of its fields, or None if it has none of them."""
        fields = {name: value for name, value in self.fields.items() if name in names}
        if not fields:
            return None
        stamps = {name: self.stamp_of(name) for name in fields}
        return self.of(self.collection, self.id, self.partition, fields, stamps)

    @staticmethod
    def of(
        collection: str, id: str, partition: str, fields: dict[str, Value], stamps: dict[str, Stamp]
    ) -> Row:
        """A row from a stamp for each field, in the normal form that makes equal rows compare equal."""
        stamp = max(stamps.values())
        rest = {name: s for name, s in sorted(stamps.items()) if s != stamp}
        return Row(
            collection=collection,
            id=id,
            partition=partition,
            fields=dict(sorted(fields.items())),
            stamp=stamp,
            stamps=rest,
        )
