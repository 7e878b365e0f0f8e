"""Which pushed rows the cloud takes, and why it refuses the others (law 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from beira.kernel import limits
from beira.kernel.access import Principal, partitions
from beira.kernel.batch import Block, Group, hlcs_of
from beira.kernel.collection import Collection, Lane, Registry
from beira.kernel.errors import BeiraError, Denied, Invalid
from beira.kernel.record import DELETED, Row
from beira.kernel.wire import Refused

_LANES = frozenset(int(lane) for lane in Lane)


@dataclass
class Admitted:
    """Rows to merge, and rows that go to quarantine, each with the reason."""

    rows: Sequence[Row] = ()
    refused: list[tuple[Row, Refused]] = field(default_factory=list)

    def joined(self, other: Admitted) -> Admitted:
        """These and then those."""
        refused = self.refused + other.refused
        if isinstance(self.rows, Block) and isinstance(other.rows, Block):
            return Admitted(rows=self.rows.joined(other.rows), refused=refused)
        return Admitted(rows=[*self.rows, *other.rows], refused=refused)


def admit(rows: Sequence[Row], node: Principal, registry: Registry) -> Admitted:
    """Sort rows pushed by `node`. Taken rows have canonical values. A block none of whose rows needs
    a closer look stays one."""
    granted = partitions(node) or frozenset()
    if isinstance(rows, Block):
        groups = [_checked_group(group, node, granted, registry) for group in rows.groups]
        if all(groups):
            checked = [group for group in groups if group is not None]
            return Admitted(rows=Block(checked, canonical=True))
    taken: list[Row] = []
    result = Admitted(rows=taken)
    for row in rows:
        try:
            taken.append(_checked(row, node, granted, registry))
        except BeiraError as error:
            result.refused.append((row, _refused(row, error)))
    return result


def without_echoes(rows: Sequence[Row], node: str) -> Sequence[Row]:
    """What `rows` tell a node that it did not itself write."""
    if isinstance(rows, Block) and not any(
        node in group.nodes or any(stamp.node == node for _, _, stamp in group.stamps)
        for group in rows.groups
    ):
        return rows
    return [told for row in rows if (told := without_echo(row, node)) is not None]


def without_echo(row: Row, node: str) -> Row | None:
    """What `row` tells a node that it did not itself write; None if nothing."""
    names = {name for name in row.fields if row.stamp_of(name).node != node}
    return row if len(names) == len(row.fields) else row.only(names)


def _checked_group(
    group: Group, node: Principal, granted: frozenset[str], registry: Registry
) -> Group | None:
    """The group with canonical values if all of its rows can be taken, found out column by column;
    None if any may have to be refused, which `_checked` decides and explains."""
    if group.collection not in registry:
        return None
    collection = registry[group.collection]
    required = {f.name for f in collection.fields.values() if f.required}
    widths = list(map(len, group.ids)) or [0]
    good = (
        collection.goes_up
        and granted.issuperset(group.partitions)
        and min(widths) > 0
        and max(widths) <= limits.ID_CHARS
        and len(set(group.ids)) == len(group.ids)
        and "\x00" not in "".join(group.ids)
        and not group.stamps
        and set(group.nodes) == {node.id}
        and _LANES.issuperset(group.lanes)
        and min(hlcs_of(group)) > 0
        and not (collection.is_fact and not required.issubset(group.fields))
        and not (collection.is_fact and DELETED in group.fields)
    )
    columns = collection.check_columns(group.fields, group.columns) if good else None
    return None if columns is None else msgspec.structs.replace(group, columns=columns)


def _checked(row: Row, node: Principal, granted: frozenset[str], registry: Registry) -> Row:
    collection = registry[row.collection]
    if not collection.goes_up:
        raise Denied(f"Nodes do not write {collection.name}.", code="flow.down")
    if row.partition not in granted:
        raise Denied(f"{node.id} may not write to {row.partition}.", code="partition.denied")
    if not 0 < len(row.id) <= limits.ID_CHARS:
        raise Invalid(f"An id has 1 to {limits.ID_CHARS} characters.", code="id.invalid")
    for stamp in (row.stamp, *row.stamps.values()):
        if stamp.node != node.id:
            raise Denied(f"{node.id} cannot stamp as {stamp.node}.", code="stamp.forged")
        if stamp.lane not in _LANES or not 0 < stamp.hlc <= row.stamp.hlc:
            raise Invalid("A stamp is out of range.", code="stamp.invalid")
    fields = _fields(row, collection)
    return msgspec.structs.replace(row, fields=fields)


def _fields(row: Row, collection: Collection) -> dict[str, object]:
    if collection.is_fact and DELETED in row.fields:
        raise Invalid(
            f"{collection.name} are facts: they cannot be deleted.", code="fact.immutable"
        )
    missing = [f for f in collection.fields.values() if f.required and f.name not in row.fields]
    if collection.is_fact and missing:
        raise Invalid(f"{collection.name}.{missing[0].name}: is missing.", code="field.invalid")
    return collection.check(row.fields, whole=False)


def _refused(row: Row, error: BeiraError) -> Refused:
    return Refused(collection=row.collection, id=row.id, code=error.code, message=error.message)
