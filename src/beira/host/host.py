"""A host is one tenant's data with the apps that work on it: a node has one, the cloud one a tenant.

It runs commands, whichever door they came in by: checks who asks and what is given, runs the
handler, and commits its effects with the receipt in one transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import structlog

from beira.blobs.port import Blobs, Wishes
from beira.host import tracing
from beira.host.context import CommandContext
from beira.host.ports import Line, Signature, Signer, Speech, Verifier, signed_bytes
from beira.host.wall import Wall
from beira.identity.private_files import PrivateFiles
from beira.kernel import limits
from beira.kernel.access import Kind, Principal, home_partition, node_partition, site_partition
from beira.kernel.app import Catalogue
from beira.kernel.clock import HybridClock, Stamp
from beira.kernel.collection import Collection, Lane, collection_of, timestamp
from beira.kernel.command import Command, Receipt, Runs
from beira.kernel.errors import BeiraError, Conflict, Corrupt, Denied, Unavailable
from beira.kernel.query import Query, where
from beira.kernel.record import Record, Row, Value
from beira.kernel.system import Site
from beira.store.port import Commit, Route, Store

log = structlog.get_logger(__name__)
S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")
CLOCK_MARK = "clock.last"
SEEN_MARK = "clock.seen"
OFFSET_MARK = "clock.offset"
TURN_MARK = "turn."
TURNS = limits.TURNS_KEPT
"""Marks among which the ids of calls are spread: two of one id meet at the same mark."""
DEFAULT_ZONE = "America/Sao_Paulo"


@dataclass(frozen=True)
class Place:
    """Where a host runs: in the cloud there is no site, and `node` is the replica's stamp name."""

    tenant: str
    node: str
    site: str | None = None
    groups: tuple[str, ...] = ()
    name: str = ""
    zone: tzinfo = field(default_factory=lambda: ZoneInfo(DEFAULT_ZONE))

    @property
    def in_cloud(self) -> bool:
        return self.site is None

    @property
    def principal(self) -> Principal:
        """The host itself, asking on its own account."""
        if self.site is None:
            return Principal(kind=Kind.SERVICE, id=self.node, tenant=self.tenant)
        return Principal(
            kind=Kind.NODE,
            id=self.node,
            tenant=self.tenant,
            name=self.name,
            sites=(self.site,),
            groups=self.groups,
        )


class Host:
    """One tenant's data, apps and commands. `route` says which stream must name a local write.

    What apps keep in files beside the database goes through `private`: sealed where the node is.
    """

    def __init__(
        self,
        *,
        place: Place,
        store: Store,
        catalogue: Catalogue,
        wall: Wall,
        route: Route,
        clock: HybridClock | None = None,
        private: PrivateFiles | None = None,
    ) -> None:
        self.place = place
        self.store = store
        self.catalogue = catalogue
        self.wall = wall
        self.clock = clock or HybridClock()
        self.private = private or PrivateFiles()
        self.took_ms: deque[float] = deque(maxlen=limits.TIMED_COMMANDS)
        self.blobs: Blobs | None = None
        self.signer: Signer | None = None
        self.verifier: Verifier | None = None
        self.line: Line | None = None
        self.speech: Speech | None = None
        self.edges: list[object] = []
        self.wishes: Wishes | None = None
        self._route = route
        self._clock_stands = asyncio.Event()
        self._clock_stands.set()

    async def start(self) -> None:
        """Take up the clock where it was left, its measured skew, and what is known of the place."""
        marks = await self.store.marks("clock.")
        self.clock.last = max(self.clock.last, int(marks.get(CLOCK_MARK, 0)))
        self.clock.saw(int(marks.get(SEEN_MARK, 0)))
        self.clock.offset_ms = int(marks.get(OFFSET_MARK, self.clock.offset_ms))
        await self.refresh_place()

    async def refresh_place(self) -> None:
        """Take the site's zone and groups from its record, once the cloud has sent it."""
        if self.place.site is None:
            return
        row = await self.store.get("sites", self.place.site)
        if row is not None:
            site = msgspec.convert({"id": row.id, **_known(row, Site)}, Site, strict=False)
            self.place = replace(self.place, zone=_zone(site.zone), groups=tuple(site.groups))

    def now(self) -> datetime:
        """The time in UTC, corrected by the measured skew."""
        return datetime.fromtimestamp(self.clock.now_ms(self.wall.now_ms()) / 1000, UTC)

    def stamped(
        self,
        collection: Collection,
        id: str,
        partition: str,
        fields: Mapping[str, Value],
        lane: Lane | None = None,
    ) -> Row:
        """A row written here and now; `fields` must have been checked by the collection."""
        lane = collection.lane if lane is None else lane
        stamp = Stamp(self.clock.tick(self.wall.now_ms()), int(lane), self.place.node)
        stamps = dict.fromkeys(fields, stamp)
        return Row.of(collection.name, id, partition, dict(fields), stamps)

    async def write(
        self,
        rows: Sequence[Row],
        *,
        marks: Mapping[str, Value] | None = None,
        expect: Mapping[str, Value] | None = None,
    ) -> Commit:
        """Commit local writes and name them in their streams; `marks` and `expect` as in the port."""
        await self._clock_stands.wait()
        rows = self._current(rows)
        clock = {} if self.place.in_cloud else {CLOCK_MARK: self.clock.last}
        return await self.store.commit(
            rows, route=self._route, marks={**clock, **(marks or {})}, expect=expect
        )

    @asynccontextmanager
    async def clock_coming_down(self) -> AsyncIterator[None]:
        """Bring the clock's last stamp down within this: no write is committed meanwhile, and those
        that were stamped before are stamped anew. A later one would else have the lower stamp."""
        self._clock_stands.clear()
        try:
            yield
        finally:
            self._clock_stands.set()

    def _current(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Rows about to be written, none stamped beyond what the clock has given, nor before what was
        merged since they were: they would lose against values that are here."""
        seen, last = self.clock.seen, self.clock.last
        if all(seen < row.stamp.hlc <= last for row in rows):
            return rows
        laid = {
            hlc: self.clock.tick(self.wall.now_ms())
            for hlc in sorted({row.stamp.hlc for row in rows})
        }
        return [
            msgspec.structs.replace(
                row, stamp=row.stamp._replace(hlc=laid.get(row.stamp.hlc, row.stamp.hlc))
            )
            for row in rows
        ]

    @asynccontextmanager
    async def writing(
        self,
        *,
        marks: Mapping[str, Value] | None = None,
        expect: Mapping[str, Value] | None = None,
        most_writes: int = limits.COMMAND_WRITES,
    ) -> AsyncIterator[CommandContext]:
        """Records an app writes on the host's own account, committed together at the end, with
        `marks` (small values by names that begin with the app's; `store.marks` reads them). `expect`
        is as in the store's port: of replicas that race one commits, the others get Conflict
        `marks.moved`."""
        ctx = CommandContext(
            self, self.place.principal, self.wall.new_id(), "", most_writes=most_writes
        )
        yield ctx
        await self.write(await ctx.rows(), marks=marks, expect=expect)

    async def run(
        self,
        name: str,
        params: Mapping[str, object],
        *,
        principal: Principal,
        door: str,
        call_id: str = "",
        trace_id: str = "",
        beside: Callable[[Receipt], Sequence[Record]] | None = None,
    ) -> Receipt:
        """Run a command once, and say what became of it.

        A `call_id` seen before gives the receipt of then, and so does one that another replica is
        running at this moment: of the two only one commits. An error of the command is a receipt
        that is not ok, with its code and hint. `beside` gives records to commit in the same
        transaction as the receipt, such as the interaction that led to it.

        Raises: NotFound for an unknown command; Conflict `idempotency.reused` for an id that names
        another call; Unavailable or Full if even the receipt could not be written, in which case
        nothing was.
        """
        command = self.catalogue.command(name)
        by = principal.name or principal.id
        named, call_id = bool(call_id), call_id or self.wall.new_id()
        earlier = await self._earlier(call_id, name, by) if named else None
        if earlier is not None:
            return earlier
        ctx = CommandContext(self, principal, call_id, trace_id or call_id)
        with tracing.command(name, ctx.trace_id) as span:
            receipt, rows = await self._carried_out(command, ctx, params, door)
            more = CommandContext(self, self.place.principal, call_id, ctx.trace_id)
            for record in beside(receipt) if beside else ():
                more.put(record)
            all_rows = [*rows, *await more.rows(), self._receipt_row(receipt, command)]
            with span.child("store.commit"):
                if named:
                    receipt = await self._write_once(all_rows, receipt)
                else:
                    await self.write(all_rows)
            span.set(ok=receipt.ok, code=receipt.code, door=door)
        log.info(
            "command.done", command=name, ok=receipt.ok, code=receipt.code, trace=receipt.trace
        )
        return receipt

    async def _carried_out(
        self, command: Command, ctx: CommandContext, params: Mapping[str, object], door: str
    ) -> tuple[Receipt, list[Row]]:
        """What became of a command, and what it wants to be written."""
        started_s = self.wall.monotonic_s()
        outcome, rows = await self._attempt(command, ctx, params)
        by = ctx.principal.name or ctx.principal.id
        receipt = Receipt(
            id=ctx.call_id,
            command=command.name,
            by=by,
            door=door,
            at=self.now(),
            took_ms=round((self.wall.monotonic_s() - started_s) * 1000, 1),
            trace=ctx.trace_id,
            **outcome,
        )
        return receipt, rows

    async def _earlier(self, call_id: str, command: str, by: str) -> Receipt | None:
        """What became of this call before. Raises Conflict if the id was another's, or another
        command's: nobody reads a receipt by naming it."""
        row = await self.store.get("receipts", call_id)
        if row is None:
            return None
        receipt = _receipt(row)
        if (receipt.command, receipt.by) != (command, by):
            raise Conflict(
                "That call id was used for another call.",
                code="idempotency.reused",
                hint="Make a new id for each call, and repeat it only to try the same call again.",
            )
        return receipt

    async def _write_once(self, rows: Sequence[Row], receipt: Receipt) -> Receipt:
        """Commit unless a receipt of this call was committed first, here or by another replica.

        Every call with an id moves the mark that its id falls on, in its own transaction. The mark
        is read, then the receipt looked for, then the mark must not have moved: so of two that run
        the same call one commits, and the other finds its receipt and has written nothing.
        Returns the receipt that holds. Raises Unavailable when others are always faster.
        """
        digest = hashlib.blake2b(receipt.id.encode(), digest_size=2).digest()
        mark = f"{TURN_MARK}{int.from_bytes(digest) % TURNS}"
        for _ in range(limits.TURN_TRIES):
            turn = (await self.store.marks(mark)).get(mark)
            earlier = await self._earlier(receipt.id, receipt.command, receipt.by)
            if earlier is not None:
                return earlier
            try:
                await self.write(rows, marks={mark: (turn or 0) + 1}, expect={mark: turn})
            except Conflict as error:
                if error.code != "marks.moved":
                    raise
            else:
                return receipt
        raise Unavailable(
            "Too many calls are under way.", code="command.busy", hint="Send it again."
        )

    def sign(self, purpose: str, data: bytes) -> Signature:
        """In the cloud: sign what this tenant's nodes are to believe, whoever brings it. It holds for
        this purpose only (`<app>.<what>`). Raises Denied elsewhere."""
        if self.signer is None:
            raise Denied("Only the cloud signs.", code="signature.elsewhere")
        return self.signer.sign(signed_bytes(self.place.tenant, purpose, data))

    def verify(self, purpose: str, data: bytes, signature: Signature) -> None:
        """Raise Corrupt `signature.wrong` unless the cloud signed this for this tenant and purpose,
        by a key that is trusted here now. A node needs no network for it."""
        said = signed_bytes(self.place.tenant, purpose, data)
        if self.verifier is None or not self.verifier.verify(said, signature):
            raise Corrupt(
                f"That was not signed by the cloud, or by a key not trusted here: {purpose}.",
                code="signature.wrong",
                hint="A node learns the cloud's keys by itself while it is connected.",
            )

    async def ask_cloud(self, name: str, body: bytes) -> bytes:
        """What an app answers in the cloud, on a node: `name` is `<app>/<answer>` of its manifest.

        Raises: Unavailable without a link, TooLarge, and the cloud's own errors. Nothing is tried
        again here.
        """
        if self.line is None:
            raise Unavailable("There is no line to a cloud here.", code="cloud.away")
        return await self.line.ask(name, body)

    def edge(self, kind: type[T]) -> T:
        """What runs of an app on this node: what its `edge` gave. Raises Unavailable where, or while,
        it does not run."""
        for running in self.edges:
            if isinstance(running, kind):
                return running
        raise Unavailable(
            f"{kind.__name__} does not run here.",
            code="edge.away",
            hint="It runs on nodes that have its app, once they have started.",
        )

    async def settings(self, kind: type[S]) -> S:
        """The settings of an app in force here: the node's over the site's over its groups' over
        the tenant's. What does not fit the app's type is left out, and said in the log."""
        return settings_at(kind, await self.settings_rows(kind), self.place)

    async def settings_rows(self, kind: type[S]) -> Sequence[Mapping[str, Value]]:
        """All that was set of an app, wherever it holds: for `settings_at`."""
        app = self.catalogue.app_of_settings(kind)
        page = await self.store.query(
            Query(collection="settings", where=where(app=app.name), limit=limits.QUERY_ROWS)
        )
        return page.rows

    async def _attempt(
        self, command: Command, ctx: CommandContext, params: Mapping[str, object]
    ) -> tuple[dict[str, Any], list[Row]]:
        try:
            self._allow(command, ctx.principal)
            args = command.check(params)
            async with asyncio.timeout(limits.COMMAND_TIMEOUT_S):
                result = await command.handler(ctx, **args)
            return {"ok": True, "result": msgspec.to_builtins(result)}, await ctx.rows()
        except TimeoutError:
            error: BeiraError = Unavailable(
                f"{command.name} took over {limits.COMMAND_TIMEOUT_S} s.", code="command.timeout"
            )
        except BeiraError as raised:
            error = raised
        except Exception:
            log.exception("command.failed", command=command.name, trace=ctx.trace_id)
            error = BeiraError(f"{command.name} failed.", hint="The log has the details.")
        failed = {"ok": False, "code": error.code, "message": error.message, "hint": error.hint}
        return failed | ({"result": error.details} if error.details else {}), []

    def _allow(self, command: Command, principal: Principal) -> None:
        if principal.kind is Kind.PERSON and principal.role not in command.roles:
            raise Denied(
                f"{principal.role} may not {command.name}.",
                hint="Ask an owner of the tenant for the right.",
            )
        wrong = Runs.NODE if self.place.in_cloud else Runs.CLOUD
        if command.runs is wrong:
            raise Denied(
                f"{command.name} runs only {'on a node' if wrong is Runs.NODE else 'in the cloud'}.",
                code="command.elsewhere",
                hint="Send it as a call to a node." if wrong is Runs.NODE else "Ask the cloud.",
            )

    def _receipt_row(self, receipt: Receipt, command: Command) -> Row:
        declared = collection_of(Receipt)
        home = (
            "tenant"
            if self.place.in_cloud
            else home_partition(declared, site=self.place.site, node=self.place.node)
        )
        return self.stamped(declared, receipt.id, home, declared.encode(receipt), command.lane)


def settings_at(kind: type[S], rows: Sequence[Mapping[str, Value]], place: Place) -> S:
    """The settings in force at a place, out of all of an app's: the cloud asks so for its nodes."""
    ranked = ["tenant", *(f"group:{g}" for g in place.groups)]
    if place.site is not None:
        ranked += [site_partition(place.site), node_partition(place.node)]
    rank = {partition: n for n, partition in enumerate(ranked)}
    values: dict[str, Any] = {}
    holding = [row for row in rows if row["_partition"] in rank]
    for row in sorted(holding, key=lambda row: rank[row["_partition"]]):
        values |= row["values"]
    return _fitting(kind, values)


def _receipt(row: Row) -> Receipt:
    return collection_of(Receipt).decode(row.id, row.fields)  # type: ignore[return-value]


def _known(row: Row, kind: type[msgspec.Struct]) -> dict[str, Value]:
    names = set(kind.__struct_fields__)
    return {name: value for name, value in row.fields.items() if name in names}


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError):
        log.warning("site.zone_unknown", zone=name, used=DEFAULT_ZONE)
        return ZoneInfo(DEFAULT_ZONE)


def _fitting(kind: type[S], values: dict[str, Any]) -> S:
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        log.warning("settings.invalid", settings=kind.__name__, why=str(error))
    fitting: dict[str, Any] = {}
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, kind)
        except msgspec.ValidationError:
            continue
        fitting[name] = value
    return msgspec.convert(fitting, kind)


__all__ = ["CLOCK_MARK", "Host", "Place", "timestamp"]
