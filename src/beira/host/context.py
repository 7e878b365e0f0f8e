"""The context of one command: it collects writes, and the host commits them once all went well."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, TypeVar

import msgspec

from beira.kernel import limits
from beira.kernel.access import Principal, check_partition, home_partition, partitions
from beira.kernel.collection import Collection, Lane, collection_of
from beira.kernel.command import Command
from beira.kernel.errors import Invalid, NotFound, TooLarge
from beira.kernel.query import Filter, Order, Page, Query, checked
from beira.kernel.record import DELETED, Record, Row, Value

if TYPE_CHECKING:
    from beira.host.host import Host

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


class CommandContext:
    """Implements `kernel.command.Context` over a host."""

    def __init__(
        self,
        host: Host,
        principal: Principal,
        call_id: str,
        trace_id: str,
        *,
        most_writes: int = limits.COMMAND_WRITES,
    ) -> None:
        self._host = host
        self._principal = principal
        self._call_id = call_id
        self._trace_id = trace_id
        self._most_writes = most_writes
        self.writes: list[_Write] = []

    @property
    def principal(self) -> Principal:
        return self._principal

    @property
    def call_id(self) -> str:
        return self._call_id

    @property
    def trace_id(self) -> str:
        return self._trace_id

    @property
    def site(self) -> str | None:
        return self._host.place.site

    @property
    def zone(self) -> tzinfo:
        return self._host.place.zone

    @property
    def commands(self) -> Mapping[str, Command]:
        return self._host.catalogue.commands

    def now(self) -> datetime:
        return self._host.now()

    def put(self, record: R, *, partition: str | None = None, lane: Lane | None = None) -> R:
        collection = collection_of(record)
        record.id = record.id or self._host.wall.new_id()
        fields = {**collection.encode(record)}
        if not collection.is_fact:
            fields[DELETED] = False
        home = partition or home_partition(
            collection, site=self._host.place.site, node=self._host.place.node
        )
        self._add(collection, record.id, home, fields, lane)
        return record

    def patch(self, kind: type[Record], id: str, /, **fields: object) -> None:
        collection = collection_of(kind)
        if collection.is_fact:
            raise Invalid(
                f"{collection.name} are facts: they never change.",
                code="fact.immutable",
                hint="Write a further fact that corrects it.",
            )
        self._add(collection, id, None, collection.check(fields, whole=False), None)

    def delete(self, kind: type[Record], id: str, /) -> None:
        self.patch(kind, id, **{DELETED: True})

    async def get(self, kind: type[R], id: str, /) -> R | None:
        collection = collection_of(kind)
        row = await self._host.store.get(collection.name, id)
        granted = partitions(self._principal)
        if row is None or row.deleted or (granted is not None and row.partition not in granted):
            return None
        self._host.clock.saw(
            row.stamp.hlc
        )  # another replica's clock may be ahead: who read it is later
        return collection.decode(id, row.fields)  # type: ignore[return-value]

    async def find(
        self,
        kind: type[R],
        /,
        where: Filter | None = None,
        *,
        newest_first: bool = False,
        limit: int = limits.QUERY_ROWS,
    ) -> list[R]:
        collection = collection_of(kind)
        order = (Order("_hlc", descending=newest_first),)
        question = Query(collection=collection.name, where=where, order=order, limit=limit)
        page = await self.query(question)
        return collection.decode_whole(page.rows)  # type: ignore[return-value]

    async def query(self, query: Query) -> Page:
        collection = self._host.store.registry[query.collection]
        return await self._host.store.query(checked(query, collection), partitions(self._principal))

    async def settings(self, kind: type[S], /) -> S:
        return await self._host.settings(kind)

    def edge(self, kind: type[T]) -> T:
        return self._host.edge(kind)

    async def rows(self) -> list[Row]:
        """What was written, stamped in the order it was written."""
        return [await self._stamped(write) for write in self.writes]

    async def _stamped(self, write: _Write) -> Row:
        partition = write.partition or await self._partition_of(write)
        check_partition(partition, partitions(self._principal))
        lane = write.collection.lane if write.lane is None else write.lane
        return self._host.stamped(write.collection, write.id, partition, write.fields, lane)

    async def _partition_of(self, write: _Write) -> str:
        for earlier in self.writes:
            if earlier.id == write.id and earlier.partition:
                return earlier.partition
        row = await self._host.store.get(write.collection.name, write.id)
        if row is None or row.deleted:
            raise NotFound(f"There is no {write.id} in {write.collection.name}.")
        return row.partition

    def _add(
        self,
        collection: Collection,
        id: str,
        partition: str | None,
        fields: dict[str, Value],
        lane: Lane | None,
    ) -> None:
        if len(id) > limits.ID_CHARS:
            raise TooLarge(f"An id has {limits.ID_CHARS} characters at most.")
        if len(self.writes) >= self._most_writes:
            raise TooLarge(f"A command writes {self._most_writes} records at most.")
        self.writes.append(_Write(collection, id, partition, fields, lane))


class _Write(msgspec.Struct):
    collection: Collection
    id: str
    partition: str | None
    fields: dict[str, Value]
    lane: Lane | None
