"""A cloud with the player, without the portal's pages and with shops that only keep their records."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from beira.apps.player import app as player
from beira.kernel.app import Catalogue, catalogue
from tests.acceptance.support import Company, free_port, until

UPLOADS = "/storage/v1/upload/resumable"
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
CONFIG = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr warn; {user}
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  proxy_cache_path {folder}/cache keys_zone=media:1m max_size=100m inactive=1y use_temp_path=off;
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 404; }}
    location /media/ {{
      proxy_pass http://127.0.0.1:{cloud_port};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache media;
      proxy_cache_lock on;
      {caching}
      add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""
WHOLE = "proxy_cache_key $uri; proxy_ignore_headers Set-Cookie;"
SLICED = """
      slice 1m; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;
      proxy_cache_valid 200 206 1y;
"""


def alone(only: tuple[str, ...] = ()) -> Catalogue:
    return catalogue([replace(player, edge="", pages="", portal_pages="", menu=())])


async def upload(
    company: Company, token: str, data: bytes, name: str, **params: Any
) -> dict[str, Any]:
    """Send a file as the portal's page does; what the receipt says."""
    told = {"filename": name, "command": "player_asset_added", "params": json.dumps(params)}
    metadata = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in told.items())
    headers = {
        "Tus-Resumable": "1.0.0",
        "Authorization": f"Bearer {token}",
        "Upload-Length": str(len(data)),
        "Upload-Metadata": metadata,
        "Content-Type": "application/offset+octet-stream",
    }
    url = company.address + UPLOADS
    async with company.web.session.post(url, data=data, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
        where = answer.headers["Location"]
    status, report = await company.web.ask("GET", where, token=token)
    assert status == 200, report
    assert report["receipt"]["ok"], report
    return dict(report["receipt"]["result"])


async def settled(company: Company, token: str, asset: str) -> dict[str, Any]:
    """The asset, once its job is done one way or the other."""

    async def look() -> dict[str, Any] | None:
        _, rows = await company.web.ask("GET", f"/rest/v1/player_assets?id=eq.{asset}", token=token)
        return rows[0] if rows and rows[0]["state"] in ("ready", "failed") else None

    return dict(await until(look, f"{asset} is ready"))


async def direct(company: Company, token: str, name: str, *rows: dict[str, Any]) -> None:
    """Write the programme as a director does, over the API."""
    for row in rows:
        status, told = await company.web.ask("POST", f"/rest/v1/{name}", row, token)
        assert status == 201, told


@dataclass
class Cache:
    """An nginx between, and what its log says."""

    url: str
    folder: Path

    def upstream(self) -> int:
        return (self.folder / "access.log").read_text().count("MISS")


@contextlib.asynccontextmanager
async def nginx(folder: Path, cloud_port: int, caching: str = WHOLE) -> AsyncIterator[Cache]:
    assert NGINX is not None
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        CONFIG.format(folder=folder, port=port, cloud_port=cloud_port, user=user, caching=caching)
    )
    process = await asyncio.create_subprocess_exec(
        NGINX, "-p", f"{folder}/", "-c", str(config), "-e", "stderr"
    )
    try:

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await until(listens, "nginx listens")
        yield Cache(f"http://127.0.0.1:{port}", folder)
    finally:
        process.terminate()
        await process.wait()


class Meter:
    """Between a node and the cloud: counts every byte of TCP's content, either way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.bytes = 0
        self.url = ""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Meter]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [asyncio.create_task(self._copy(*way)) for way in ((reader, to), (there, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        to.close()
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                self.bytes += len(data)
                writer.write(data)
                await writer.drain()
