"""Between a node and a cloud in one test: no network, but the same sessions and the same bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from beira.kernel.access import Principal
from beira.kernel.wire import Hello, Wire
from beira.sync.cloud.conversation import Conversation
from beira.sync.cloud.gate import Gate
from beira.sync.codec import PackedCodec

CODEC = PackedCodec()


class Cable:
    """Connector and link in one: what one side says the other hears, in real bytes."""

    name = "memory"

    def __init__(self, gate: Gate, node: Principal) -> None:
        self._gate, self._node = gate, node
        self._down: asyncio.Queue[list[Wire]] = asyncio.Queue()

    async def connect(self, hello: Callable[[], Hello]) -> Cable:
        self._conversation: Conversation = await self._gate.open(self._node, self._heard)
        self._task = asyncio.create_task(self._conversation.run())
        return self

    async def send(self, messages: Sequence[Wire]) -> int:
        data = CODEC.encode(messages)
        self._conversation.hear(CODEC.decode(data))
        return len(data)

    async def receive(self) -> list[Wire]:
        return await self._down.get()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._gate.close(self._conversation)

    async def _heard(self, messages: list[Wire]) -> None:
        self._down.put_nowait(CODEC.decode(CODEC.encode(messages)))


class Tickets:
    """Only one machine is this node here."""

    async def present_ticket(
        self, tenant: str, node: str, ticket: int, *, sure: bool = False
    ) -> int:
        return ticket + 1

    async def confirm_ticket(self, tenant: str, node: str, ticket: int) -> None:
        """Nobody else could have it."""


async def same(tenant: str, old: str = "") -> str:
    return "test"
