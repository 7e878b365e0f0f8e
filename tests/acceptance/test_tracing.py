# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""One trace, from a command at a node of its own process to the cloud's commit and an open page."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    company_on,
    free_port,
    fresh_database,
    postgres_directory,
    postgres_server,
    program,
    until,
)
from tests.unit.portal.world import Browser

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """What an OpenTelemetry collector is to us: it takes protobuf over HTTP."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        asked = ExportTraceServiceRequest.FromString(await request.read())
        for group in asked.resource_spans:
            resource = {a.key: a.value.string_value for a in group.resource.attributes}
            for scope in group.scope_spans:
                for span in scope.spans:
                    told = {a.key: a.value for a in span.attributes}
                    self.spans.append({
                        "name": span.name, "service": resource["service.name"],
                        "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(), "told": told,
                        "links": [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    })  # fmt: skip
        return web.Response(content_type="application/x-protobuf")

    def of(self, trace: str) -> dict[str, dict[str, Any]]:
        return {span["name"]: span for span in self.spans if span["trace"] == trace}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/v1/traces", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()


async def test_one_trace_from_the_command_to_the_commit_and_the_page(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector()
    async with contextlib.AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(collector.serving())
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        made = await stack.enter_async_context(company_on(*await fresh_database(postgres_server)))
        tenant = await made.tenant("angeloni")
        data, port = await made.enrol(tenant), free_port()
        url, email = f"http://127.0.0.1:{port}", f"owner@{tenant}.example"
        log = made.folder / "traced.log"
        node = await stack.enter_async_context(
            program(log, "node", "run", "--data", str(data), "--port", str(port), env=os.environ)
        )
        await node.answers(url, made.web.session)
        owner = await stack.enter_async_context(Browser(made.address, "pt-BR"))
        await owner.sign_in(email, "correct horse battery")
        page = await stack.enter_async_context(owner.session.get(made.address + "/live"))
        reading = asyncio.create_task(page.content.read())
        stack.callback(reading.cancel)
        at = made.web.at(url)
        token = await at.sign_in(email)
        status, told = await at.ask(
            "POST", "/rest/v1/rpc/log_request", {"text": "um bolo"}, token,
            traceparent=f"00-{TRACE}-00f067aa0ba902b7-01",
        )  # fmt: skip
        assert status == 200, told
        wanted = {"command log_request", "store.commit", "cloud.commit", "portal.feed"}
        await until(lambda: wanted <= set(collector.of(TRACE)), f"{collector.spans}")
        spans = collector.of(TRACE)
        command = spans["command log_request"]
        services = {name: span["service"] for name, span in spans.items()}
        assert services["store.commit"] == services["command log_request"] == "beira-node"
        assert services["cloud.commit"] == services["portal.feed"] == "beira-cloud"
        for name in wanted - {"command log_request"}:
            assert spans[name]["parent"] == command["id"], name
        assert command["told"]["beira.ok"].bool_value is True
        assert command["told"]["beira.command"].string_value == "log_request"
        link = (TRACE, command["id"])
        await until(lambda: any(link in span["links"] for span in collector.spans), "push")
        (push,) = [span for span in collector.spans if link in span["links"]][:1]
        assert (push["name"], push["service"]) == ("sync.push", "beira-node")
