"""Commands sent to a node from elsewhere: they arrive as records and are carried out once.

A call that came too late is answered with a receipt that says so: a lamp does not obey three days
late.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from beira.host.host import Host
from beira.kernel.access import Kind, Principal
from beira.kernel.clock import hlc_at
from beira.kernel.collection import collection_of
from beira.kernel.command import Call, Receipt
from beira.kernel.errors import BeiraError
from beira.kernel.query import Query, where
from beira.kernel.record import Row
from beira.store.port import News

log = structlog.get_logger(__name__)
LOOK_BACK_MS = 86_400_000


@asynccontextmanager
async def answering_calls(host: Host) -> AsyncIterator[None]:
    """Carry out calls to this node while the context lasts, and those missed in the last day."""
    waiting: asyncio.Queue[str] = asyncio.Queue()

    def heard(news: News) -> None:
        for collection, id, _ in news.rows:
            if collection == "calls":
                waiting.put_nowait(id)

    unsubscribe = host.store.subscribe(heard)
    for id in await _missed(host):
        waiting.put_nowait(id)
    task = asyncio.create_task(_answer(host, waiting))
    try:
        yield
    finally:
        unsubscribe()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _answer(host: Host, waiting: asyncio.Queue[str]) -> None:
    while True:
        row = await host.store.get("calls", await waiting.get())
        if row is None or await host.store.get("receipts", row.id) is not None:
            continue
        try:
            await _carry_out(host, row)
        except BeiraError as error:
            log.error("call.failed", call=row.id, code=error.code, why=error.message)


async def _carry_out(host: Host, row: Row) -> None:
    call = collection_of(Call).decode(row.id, row.fields)
    assert isinstance(call, Call)
    if call.expires_at < host.now():
        async with host.writing() as ctx:
            ctx.put(
                Receipt(
                    id=call.id,
                    command=call.command,
                    by=call.by,
                    door="cloud",
                    at=host.now(),
                    ok=False,
                    code="call.expired",
                    message="The call came too late and was not carried out.",
                    hint="Send it again.",
                    trace=call.trace,
                )
            )
        return
    principal = Principal(
        kind=Kind.PERSON, id=call.by, tenant=host.place.tenant, name=call.by, role=call.role
    )
    await host.run(
        call.command,
        call.params,
        principal=principal,
        door="cloud",
        call_id=call.id,
        trace_id=call.trace,
    )


async def _missed(host: Host) -> list[str]:
    since = hlc_at(host.clock.now_ms(host.wall.now_ms()) - LOOK_BACK_MS)
    page = await host.store.query(
        Query(collection="calls", where=where(_hlc__gte=since), limit=1_000)
    )
    return [str(row["id"]) for row in page.rows]
