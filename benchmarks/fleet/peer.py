"""What is left of a cloud that does nothing: a bare WebSocket on the same server, which confirms
each message it gets. It is the floor under memory a connection and CPU a visit."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn

NAME = "bare uvicorn WebSocket"
PATH = "/ws"
ASKS = 4
"""As many messages a visit as a node sends: hello, confirm, push, status."""


async def bare(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": b"ack"})


def main() -> None:
    config = uvicorn.Config(
        bare, port=int(sys.argv[1]), log_config=None, access_log=False, lifespan="off",
        http="httptools", ws="websockets-sansio", ws_per_message_deflate=False, backlog=4_096,
    )  # fmt: skip
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
