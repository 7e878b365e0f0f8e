"""A LAN without a certificate authority: the cloud makes a certificate, the node is told to trust it."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import pytest

from beira.apps.voice.records import CustomerRequest
from beira.host.certificates import CERTIFICATE_FILE, trusting
from beira.identity.tenants import service
from tests.acceptance.certificates import client
from tests.acceptance.support import (
    Company,
    Web,
    command,
    company_on,
    drained,
    free_port,
    program,
    put,
    roomy_folder,
    until,
)


@pytest.mark.timeout(240)
async def test_a_self_signed_cloud_is_trusted_by_its_certificate_and_speaks_only_tls_1_3() -> None:
    with roomy_folder() as folder:
        data, port = folder / "cloud", free_port()
        async with company_on("", "", data=data) as made:
            tenant = await made.tenant("angeloni")
            codes = made.cloud.identity.nodes
            code = await codes.make_code(service(tenant), f"{tenant}-1")
        url = f"https://localhost:{port}"
        run = ("cloud", "run", "--data", str(data), "--port", str(port), "--tls-self-signed")
        async with aiohttp.ClientSession() as plain, program(folder / "log", *run) as cloud:
            node_folder = folder / "node"
            ca = data / CERTIFICATE_FILE
            connector = aiohttp.TCPConnector(ssl=False)
            async with aiohttp.ClientSession(connector=connector) as blind:
                await cloud.answers(url, blind)

            enrol = ("node", "enrol", url, code.code, "--data", str(node_folder))
            status, said = await asyncio.to_thread(command, *enrol)
            assert status == 1 and "certificate" in said and "→" in said, said
            status, said = await asyncio.to_thread(command, *enrol, "--ca", str(ca))
            assert status == 0, said

            with pytest.raises((aiohttp.ClientConnectorError, ssl.SSLError)):
                await plain.get(url + "/healthz", ssl=client(ca, oldest=True))
            with pytest.raises(aiohttp.ClientError):
                await plain.get(url.replace("https", "http") + "/healthz")
            async with plain.get(url + "/healthz", ssl=client(ca)) as answer:
                assert answer.status == 200

            company = Company(None, url, folder, Web(plain, url))  # type: ignore[arg-type]
            async with company.node(node_folder, cloud="", ssl=trusting(ca)) as node:
                await put(node.host, CustomerRequest(id="r", text="x", at=node.host.now()))
                await drained(node)
                assert node.agent.state.link == "websocket"
            async with company.node(node_folder, cloud="") as node:
                await put(node.host, CustomerRequest(id="r2", text="x", at=node.host.now()))
                await until(lambda: "certificate" in node.agent.state.last_error)
                assert not node.agent.state.connected
