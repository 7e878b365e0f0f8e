"""One connection of one node, from hello to goodbye, as a node's session holds it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from beira.apps.voice.records import Interaction, Punch
from beira.kernel.batch import Group, group_of
from beira.kernel.clock import hlc_at
from beira.kernel.collection import Lane, collection_of
from beira.kernel.wire import (
    CAN,
    PROTOCOL,
    Ack,
    Bye,
    Confirm,
    Feed,
    Gap,
    Got,
    Hello,
    Ping,
    Push,
    Status,
    Welcome,
    Wire,
)
from beira.sync.brief import Known
from benchmarks.fleet.enrolled import Enrolled
from benchmarks.fleet.thin import ThinSocket, brief, dial, packed, read

_AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
_TALK = collection_of(Interaction).check(
    {"text": "registrar ponto do João", "at": _AT, "intent": "register_punch", "outcome": "done",
     "answer": "Ponto de João registrado.", "latency_ms": 812.0}, whole=True)  # fmt: skip
_PUNCH = collection_of(Punch).check(
    {"person": "p1", "employee": "João", "kind": "in", "at": _AT, "said_at": _AT}, whole=True
)


def few_changes(node: Enrolled, now_s: float) -> list[Group]:
    """Two turns of talk and a punch: what a counter has to tell after five minutes."""
    return [_rows(node, "interactions", _TALK, 2, Lane.IMPORTANT, now_s),
            _rows(node, "punches", _PUNCH, 1, Lane.IMPORTANT, now_s)]  # fmt: skip


def one_urgent(node: Enrolled, now_s: float) -> list[Group]:
    return [_rows(node, "interactions", _TALK, 1, Lane.CRITICAL, now_s)]


def _rows(
    node: Enrolled, collection: str, fields: dict[str, Any], count: int, lane: Lane, now_s: float
) -> Group:
    ms = int(now_s * 1000)
    ids = [str(UUID(bytes=ms.to_bytes(6, "big") + secrets.token_bytes(10))) for _ in range(count)]
    hlc = hlc_at(ms)
    return group_of(
        collection,
        list(fields),
        ids=ids,
        hlcs=[hlc + i for i in range(count)],
        lanes=[int(lane)],
        nodes=[node.id],
        partitions=[f"site:{node.site}"],
        columns=[[value] * count for value in fields.values()],
    )


class Visit:
    """A session. `done` is called once it is over: with "" if all went well, else with why."""

    __slots__ = (
        "_acked", "_known", "_port", "_socket", "_stays", "_waiting", "_welcome", "done", "live",
        "node", "token",
    )  # fmt: skip

    def __init__(
        self, port: int, node: Enrolled, token: str, *, stays: bool, done: Callable[[str], None]
    ) -> None:
        self.node, self.token, self.done = node, token, done
        self.live = False
        self._port, self._stays = port, stays
        self._socket: ThinSocket | None = None
        self._known: Known | None = None
        self._waiting = 0
        self._acked: Callable[[int], None] = lambda lane: None
        self._welcome: Callable[[], None] = lambda: None

    async def begin(
        self, acked: Callable[[int], None], welcome: Callable[[], None] = lambda: None
    ) -> None:
        """Dial; the rest happens by itself. `acked` is called with the lane of each ack, `welcome` once
        it is live."""
        self._acked, self._welcome = acked, welcome
        try:
            self._socket = await dial(
                self._port, self.token, self._opened, self._heard, self._ended
            )
        except OSError as error:
            self._ended(str(error))

    def push(self, lane: Lane, groups: list[Group]) -> None:
        node, count = self.node, sum(len(group.ids) for group in groups)
        after = node.urgent if lane is Lane.CRITICAL else node.pushed
        self._waiting += 1
        self._say(Push(lane=int(lane), after=after, upto=after + count, groups=groups))
        if lane is Lane.CRITICAL:
            node.urgent += count
        else:
            node.pushed += count

    def tell(self) -> None:
        """How the node is."""
        fields = {
            "release": "fleet", "started_at": "2026-11-21T00:00:00Z", "disk_free_bytes": 1 << 34,
            "pending": {"critical": 0, "important": 0, "normal": 0}, "oldest_s": {}, "skew_ms": 3,
            "met": {"important": [self.node.pushed, 0]}, "link": "websocket", "rtt_ms": 21.0,
            "last_error": "",
        }  # fmt: skip
        self._say(Status(fields=fields))

    def ask(self) -> None:
        """Whether the cloud is still there."""
        self._say(Ping(sent_ms=int(time.monotonic() * 1e3)))

    def leave(self) -> None:
        if self._socket is not None:
            self._socket.leave()

    def _opened(self) -> None:
        node = self.node
        cursors = {f"node:{node.id}": 0, f"site:{node.site}": node.site_cursor}
        hello = Hello(
            protocol=PROTOCOL, release="fleet", ticket=node.ticket, clock_ms=int(time.time() * 1e3),
            cursors=cursors | {"tenant": node.tenant_cursor}, cloud=node.cloud, can=CAN,
        )  # fmt: skip
        asyncio.get_running_loop().call_soon(self._greet, hello)

    def _greet(self, hello: Hello) -> None:
        if self._socket is not None:
            self._socket.send(packed([hello]))

    def _heard(self, data: bytes) -> None:
        for message in read(self._known, data):
            self._received(message)

    def _received(self, message: Wire) -> None:
        match message:
            case Welcome():
                self._welcomed(message)
            case Ack():
                self._waiting -= 1
                self._acked(message.lane)
                if message.refused:
                    self._over(f"refused: {message.refused[0].message}")
                elif not self._stays and self._waiting == 0:
                    self.node.unsent = None
                    self._over("")
            case Feed():
                if message.partition.startswith("site:"):
                    self.node.site_cursor = message.upto
                elif message.partition == "tenant":
                    self.node.tenant_cursor = message.upto
                self._say(Got(partition=message.partition, upto=message.upto))
            case Bye():
                self._over(f"bye {message.code}")
            case Gap():
                self._over("gap")

    def _welcomed(self, message: Welcome) -> None:
        node = self.node
        node.ticket, node.cloud = message.ticket, message.cloud
        node.pushed = message.acked.get(int(Lane.IMPORTANT), 0)
        node.urgent = message.acked.get(int(Lane.CRITICAL), 0)
        self._known = Known.of(message)
        self.live = True
        self._say(Confirm(ticket=message.ticket))
        if not self._stays:
            self._tell_news()
        self._welcome()

    def _tell_news(self) -> None:
        """What it has not been told is there goes again as it was, as a node's log does."""
        node = self.node
        if node.unsent is not None and node.pushed >= node.unsent[0]:
            node.unsent = None
            self._over("")
            return
        groups = node.unsent[1] if node.unsent else few_changes(node, time.time())
        self.push(Lane.IMPORTANT, groups)
        node.unsent = (node.pushed, groups)
        self.tell()

    def _say(self, message: Wire) -> None:
        if self._socket is not None and self._known is not None:
            self._socket.send(brief(self._known, [message]))

    def _over(self, why: str) -> None:
        if self._socket is not None:
            socket, self._socket = self._socket, None
            self.live = False
            socket.ended = _nothing
            socket.leave(why)
            self.done(why)

    def _ended(self, why: str) -> None:
        self._socket = None
        self.live = False
        self.done(why)


def _nothing(_: str) -> None:
    pass
