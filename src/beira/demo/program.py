"""Running the demonstration: the cloud in this process, each node in one of its own behind its plug."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from beira.cloud.program import Cloud, CloudConfig
from beira.cloud.program import running as running_cloud
from beira.demo import company
from beira.demo.page import demo_app
from beira.demo.plug import Plug
from beira.host.listen import Listen
from beira.host.serve import serving
from beira.identity.tenants import service
from beira.kernel.errors import Misconfigured, Unavailable
from beira.node import asking, settled
from beira.node import program as node_program

log = structlog.get_logger(__name__)
NODES_FILE = "nodes.json"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10
RESTART_AFTER_S = 1.0
MUTED = ("BEIRA_PLAYER_OUTPUT", "null")
"""Three shops on one machine play without being heard, unless the environment says where to."""


@dataclass
class DemoNode:
    """One shop's node: its folder, its address and its plug."""

    shop: company.Shop
    folder: Path
    address: str
    plug: Plug
    process: subprocess.Popen[bytes] | None = None


@dataclass
class Demo:
    """What is running."""

    portal: str
    page: str = ""
    sign_ins: list[company.SignIn] = field(default_factory=list)
    nodes: list[DemoNode] = field(default_factory=list)


@contextlib.asynccontextmanager
async def running(folder: Path, port: int, apps: tuple[str, ...] = ()) -> AsyncIterator[Demo]:
    """Run it while the context lasts. Ports from `port` on are used: page, cloud, then the nodes."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    except OSError as error:
        raise Misconfigured(
            f"{folder} cannot be made: {error.strerror}.", hint="Choose another with --data."
        ) from None
    listen = Listen(port=port + 1)
    config = CloudConfig(
        data=folder / "cloud", listen=listen, public_url=f"http://127.0.0.1:{port + 1}", apps=apps
    )
    async with contextlib.AsyncExitStack() as stack:
        cloud, address = await stack.enter_async_context(running_cloud(config))
        made = company.read(folder) or await company.make(folder, cloud)
        demo = Demo(portal=address, sign_ins=made.sign_ins)
        for i, shop in enumerate(made.shops):
            demo.nodes.append(await _node(stack, cloud, folder, shop, address, port + 11 + i))
        page = serving(demo_app(demo), Listen(port=port))
        demo.page = await stack.enter_async_context(page)
        for node in demo.nodes:
            await _answers(node)
        _note_nodes(folder, demo)
        for task in (_keep_running(demo), company.work(cloud)):
            stack.callback(asyncio.create_task(task).cancel)
        yield demo


async def _node(
    stack: contextlib.AsyncExitStack,
    cloud: Cloud,
    folder: Path,
    shop: company.Shop,
    address: str,
    port: int,
) -> DemoNode:
    data = folder / shop.site
    if not (data / settled.FILE).exists():
        code = await cloud.identity.nodes.make_code(service(shop.tenant), shop.site, name=shop.name)
        await node_program.enrol(data, address, code.code)
    plug = Plug(int(address.rsplit(":", 1)[1]))
    await stack.enter_async_context(plug.serving())
    node = DemoNode(shop=shop, folder=data, address=f"http://127.0.0.1:{port}", plug=plug)
    _start(node)
    stack.callback(_stop, node)
    return node


def _start(node: DemoNode) -> None:
    """Start the node's program; what it says goes to a log beside its data."""
    command = [sys.executable, "-m", "beira.cli", "node", "run", "--data", str(node.folder)]
    command += ["--port", node.address.rsplit(":", 1)[1]]
    command += ["--cloud", f"http://127.0.0.1:{node.plug.port}"]
    environment = {MUTED[0]: MUTED[1], **os.environ}
    with (node.folder / "node.log").open("ab") as log_file:
        node.process = subprocess.Popen(
            command, stdout=log_file, stderr=log_file, stdin=subprocess.DEVNULL, env=environment
        )


def _stop(node: DemoNode) -> None:
    if node.process is not None:
        node.process.terminate()
        try:
            node.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait()


async def _answers(node: DemoNode) -> None:
    """Wait until the node serves its page and has heard of the tenant's people and products.
    Raises Misconfigured with the end of its log."""
    deadline_s = asyncio.get_running_loop().time() + START_TIMEOUT_S
    while asyncio.get_running_loop().time() < deadline_s:
        with contextlib.suppress(Unavailable):
            if (await asking.status(node.address)).cursors.get("tenant"):
                return
        if node.process is not None and node.process.poll() is not None:
            break
        await asyncio.sleep(0.1)
    tail = (node.folder / "node.log").read_text(errors="replace")[-1_500:]
    raise Misconfigured(
        f"The node {node.shop.name} did not start:\n{tail}",
        code="demo.node",
        hint=f"The whole log is in {node.folder / 'node.log'}.",
    )


async def _keep_running(demo: Demo) -> None:
    """Start a node again when its program has ended, as its systemd unit would."""
    while True:
        await asyncio.sleep(RESTART_AFTER_S)
        for node in demo.nodes:
            if node.process is not None and node.process.poll() is not None:
                log.warning("demo.node_ended", node=node.shop.name, code=node.process.returncode)
                _start(node)


def _note_nodes(folder: Path, demo: Demo) -> None:
    """Leave the nodes' addresses where a second terminal finds them."""
    nodes = {node.shop.name: node.address for node in demo.nodes}
    (folder / NODES_FILE).write_bytes(msgspec.json.encode(nodes))
