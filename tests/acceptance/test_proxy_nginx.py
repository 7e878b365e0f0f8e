# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""The cloud behind a real nginx that asks for client certificates, by the file we ship in packaging."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from beira.apps.voice.records import CustomerRequest, Person
from beira.host.certificates import trusting
from beira.host.listen import Listen
from beira.identity.tenants import service
from beira.kernel.errors import BeiraError
from beira.kernel.system import Alert
from beira.node import program as node_program
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.certificates import Authority, Pair, client
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    PASSWORD,
    PATIENCE_S,
    Company,
    company_on,
    free_port,
    fresh_database,
    postgres_directory,
    postgres_server,
    put,
    roomy_folder,
    row_of,
    until,
)

SHIPPED = Path(__file__).parents[2] / "packaging/nginx/beira-cloud.conf"
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
MAIN = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr warn; {user}
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  include {folder}/beira-cloud.conf;
}}
"""
pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx-light")


@dataclass
class Front:
    """A cloud, and the nginx before it."""

    company: Company
    url: str
    ca: Path
    shop: Pair
    stranger: Pair

    def ssl(self, **more: bool) -> ssl.SSLContext:
        return client(self.ca, self.shop, **more)


def configured(folder: Path, port: int, cloud_port: int) -> Path:
    """The shipped file with our ports and paths, and a main file around it."""
    text = SHIPPED.read_text()
    for shipped, ours in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("server 127.0.0.1:8600;", f"server 127.0.0.1:{cloud_port};"),
        ("/etc/beira/tls/", f"{folder}/"),
    ):
        assert shipped in text
        text = text.replace(shipped, ours)
    (folder / "beira-cloud.conf").write_text(text)
    main = folder / "nginx.conf"
    main.write_text(MAIN.format(folder=folder, user="user root;" if os.geteuid() == 0 else ""))
    return main


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def front(postgres_server: EmbeddedPostgres) -> AsyncIterator[Front]:
    assert NGINX is not None
    port, cloud_port = free_port(), free_port()
    url = f"https://localhost:{port}"
    dsn, owner_dsn = await fresh_database(postgres_server)
    with roomy_folder() as folder:
        ours, theirs = Authority(folder, "clients"), Authority(folder, "strangers")
        ours.issue("server")
        main = configured(folder, port, cloud_port)
        nginx = await asyncio.create_subprocess_exec(
            NGINX, "-p", f"{folder}/", "-c", str(main), "-e", "stderr"
        )
        try:
            async with company_on(
                dsn,
                owner_dsn,
                listen=Listen(port=cloud_port),
                public_url=url,
                proxies=("127.0.0.1",),
            ) as company:
                made = Front(
                    company, url, ours.certificate, ours.issue("shop"), theirs.issue("stranger")
                )
                await until(lambda: _accepts(port), "nginx listens")
                yield made
        finally:
            nginx.terminate()
            await nginx.wait()


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_without_a_certificate_of_our_authority_nobody_reaches_the_cloud(
    front: Front,
) -> None:
    session = front.company.web.session
    for context in (client(front.ca), client(front.ca, front.stranger)):
        for path in ("/healthz", "/sign-in", "/auth/v1/nodes/challenge"):
            async with session.get(front.url + path, ssl=context) as answer:
                assert answer.status == 400 and b"SSL certificate" in await answer.read()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(front.url + "/sync/v1/ws", ssl=context)
    async with session.get(front.url + "/healthz", ssl=front.ssl()) as answer:
        assert answer.status == 200
    with pytest.raises(aiohttp.ClientConnectorSSLError):
        await session.get(front.url + "/healthz", ssl=front.ssl(oldest=True))


async def test_a_node_with_a_certificate_syncs_through_it_by_websocket(front: Front) -> None:
    company = front.company
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    code = await company.cloud.identity.nodes.make_code(service(tenant), f"{tenant}-1")
    data = company.folder / "through-nginx"
    with pytest.raises(BeiraError) as refused:
        await node_program.enrol(data, front.url, code.code, ssl=client(front.ca, front.stranger))
    assert "--client-cert" in refused.value.hint
    shown = trusting(front.ca, front.shop.certificate, front.shop.key)
    await node_program.enrol(data, front.url, code.code, ssl=shown)
    async with company.node(data, cloud="", ssl=shown) as node:
        await put(node.host, CustomerRequest(id="up", text="café", at=node.host.now()))
        await row_of(cloud.store, "customer_requests", "up", text="café")
        await put(cloud, Person(id="down", name="João"))
        await row_of(node.store, "people", "down", name="João")
        assert node.agent.state.link == "websocket"


async def test_a_browser_signs_in_through_it_and_hears_of_an_alert_at_once(front: Front) -> None:
    tenant = await front.company.tenant("angeloni")
    cloud = await front.company.host(tenant)
    connector = aiohttp.TCPConnector(ssl=front.ssl())
    async with aiohttp.ClientSession(connector=connector) as browser:
        async with browser.get(front.url + "/sign-in") as page:
            assert page.status == 200
        form = {"email": f"owner@{tenant}.example", "password": PASSWORD}
        cookies = {cookie.key: cookie for cookie in browser.cookie_jar}
        form["csrf"] = next(c.value for name, c in cookies.items() if "beira_form" in name)
        assert all(cookie["secure"] for cookie in cookies.values()), "nginx said that it is TLS"
        origin = {"Origin": front.url}
        async with browser.post(front.url + "/sign-in", data=form, headers=origin) as page:
            assert page.status == 200 and "/sign-in" not in str(page.url), await page.text()
        async with browser.get(front.url + "/live") as live:
            assert live.headers["Content-Type"].startswith("text/event-stream")
            await put(
                cloud,
                Alert(kind="x", level="critical", title="Fogo", at=cloud.now()),
                partition=f"site:{tenant}-1",
            )
            heard = b""
            async with asyncio.timeout(PATIENCE_S):
                while b"alert" not in heard:
                    heard += await live.content.readany()


async def test_realtime_passes_through_it(front: Front) -> None:
    tenant = await front.company.tenant("angeloni")
    token = await front.company.owner(tenant)
    url = front.url + "/realtime/v1/websocket?vsn=1.0.0"
    change = {"event": "*", "schema": "public", "table": "people"}
    payload = {"config": {"postgres_changes": [change]}, "access_token": token}
    join = {"topic": "realtime:any", "event": "phx_join", "ref": "1", "payload": payload}
    async with front.company.web.session.ws_connect(url, ssl=front.ssl()) as live:
        await live.send_json(join)
        while (await live.receive_json(timeout=PATIENCE_S))["event"] != "system":
            pass
        await put(await front.company.host(tenant), Person(id="joao", name="João"))
        async with asyncio.timeout(PATIENCE_S):
            while (await live.receive_json())["event"] != "postgres_changes":
                pass
