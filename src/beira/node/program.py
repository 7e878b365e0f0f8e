"""A node, running: its database, its apps, its API and pages, and sync for when there is a network."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import structlog

import beira
from beira.blobs import FolderBlobs, Shelf
from beira.host import Host, Place, Signature, SystemWall, tracing
from beira.host.apps import installed, load
from beira.host.calls import answering_calls
from beira.host.rollups import Rollups
from beira.identity.local import LocalIdentity
from beira.identity.node_key import NodeKey
from beira.identity.private_files import PrivateFiles
from beira.identity.vault import KEY_BYTES
from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.app import Catalogue
from beira.kernel.clock import hlc_at
from beira.kernel.errors import BeiraError, Corrupt, Misconfigured
from beira.kernel.policy import Conditions
from beira.node import at_rest, settled
from beira.node.at_rest import BLOBS_FOLDER, BLOBS_KEY_FILE, DATABASE_FILE, KEY_FILE
from beira.node.backup_files import BackupPlan
from beira.node.backup_schedule import Backups, latest
from beira.node.cloud_client import CloudClient, TokenSource
from beira.node.memory import give_back, sparing, without
from beira.node.power import low_battery
from beira.node.pseudonyms import pseudonym_key
from beira.node.rights import NodeRights
from beira.store.sqlite import SqliteStore
from beira.sync.blobs.agent import BlobAgent
from beira.sync.blobs.client import BlobClient
from beira.sync.dictionaries.node import NodeDictionaries
from beira.sync.node.agent import Agent
from beira.sync.node.line import CloudLine
from beira.sync.node.link import CloudConnector
from beira.sync.streams import log_route

if TYPE_CHECKING:
    from beira.host.listen import Listen

log = structlog.get_logger(__name__)
FORGET_EVERY_S = 3_600
LEARN_KEYS_EVERY_S = 900
LEARN_KEYS_FIRST_S = 5
DAY_MS = 86_400_000


@dataclass(frozen=True)
class NodeConfig:
    """What the operator decides; who the node is lies in `data` since its enrolment.

    `cloud` overrides the address it enrolled at. `ssl` is what aiohttp takes for it. `names` are
    further host names its pages may be called by, besides this machine's own. `key_from` says where
    the key of an encrypted node is (`node.key_source`), if not where it was last. On a `metered` link
    what is not critical waits for company (`kernel.policy`).
    `backup` says where its backups go; None: it makes none.
    `origins`, `proxies` and `metrics_from` are as in `api.ApiSettings`.
    """

    data: Path
    listen: Listen
    apps: tuple[str, ...] = ()
    cloud: str = ""
    http_only: bool = False
    ssl: object = True
    names: tuple[str, ...] = ()
    key_from: str = ""
    metered: bool = False
    blob_bytes_per_s: int = 0
    blob_disk_bytes: int = limits.BLOB_NODE_BYTES
    backup: BackupPlan | None = None
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    metrics_from: tuple[str, ...] = ()


@dataclass
class Node:
    """The parts of a running node."""

    host: Host
    store: SqliteStore
    agent: Agent
    identity: LocalIdentity
    blobs: BlobAgent
    address: str = ""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def host_of(self, principal: Principal) -> Host:
        return self.host


@contextlib.asynccontextmanager
async def running(config: NodeConfig) -> AsyncIterator[Node]:
    """Run a node while the context lasts. It needs no network to start (or ever)."""
    sparing()
    rest = at_rest.opened(config.data, config.key_from)
    me = settled.load(config.data, rest.files)
    key = NodeKey.load(config.data / KEY_FILE, rest.files)
    catalogue = installed(config.apps)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, tracing.begin("beira-node"))
        store = await SqliteStore.open(
            config.data / DATABASE_FILE,
            catalogue.collections,
            key=rest.database_key(config.data / DATABASE_FILE),
            tenant=me.enrolled.tenant,
            ballast_bytes=limits.DISK_BALLAST_BYTES,
        )
        stack.push_async_callback(store.close)
        host = await _host(me, store, catalogue, rest.files)
        rights = NodeRights(host)
        identity = await _identity(me, key, host, rights)
        await stack.enter_async_context(rights.followed_by(identity))
        cloud = CloudClient(config.cloud or me.cloud, ssl=config.ssl)
        token = TokenSource(cloud, key, me.enrolled.node)
        cheap = partial(_is_cheap, config)
        connector = CloudConnector(
            cloud.url,
            token,
            ssl=config.ssl,
            http_only=config.http_only,
            dictionaries=NodeDictionaries(store, cheap),
        )
        stack.push_async_callback(connector.close)
        agent = Agent(
            host=host,
            store=store,
            connector=connector,
            release=beira.__version__,
            status=_status(host, config.data),
            pseudonym_key=pseudonym_key(config.data, rest.files),
            machine=lambda: Conditions(metered=config.metered, low_battery=low_battery()),
        )
        carrier = BlobClient(cloud.url, token, ssl=config.ssl)
        stack.push_async_callback(carrier.close)
        files = _files(config.data, rest.files)
        blobs = BlobAgent(
            host=host,
            shelf=Shelf(files, me.enrolled.tenant, host.wall),
            plain=FolderBlobs(config.data / BLOBS_FOLDER) if files.sealed else None,
            client=carrier,
            online=lambda: agent.state.connected,
            bytes_per_s=config.blob_bytes_per_s,
            disk_bytes=config.blob_disk_bytes,
        )
        await blobs.begin()
        host.blobs = host.wishes = blobs
        host.line = CloudLine(cloud.url, token, lambda: agent.state.connected, ssl=config.ssl)
        stack.push_async_callback(host.line.close)
        host.verifier = _KnownKeys(identity)
        node = Node(host=host, store=store, agent=agent, identity=identity, blobs=blobs)
        rollups = asyncio.create_task(Rollups(host).run(), name="beira-rollups")
        stack.callback(rollups.cancel)
        for app in catalogue.apps:
            if app.edge:
                host.edges.append(await stack.enter_async_context(load(app.edge)(host)))
        await stack.enter_async_context(answering_calls(host))
        with without():
            await asyncio.to_thread(importlib.import_module, "aiohttp")
            site = await asyncio.to_thread(importlib.import_module, "beira.node.site")
            pages = site.serving_pages(node, config, rights, cloud)
            node.address = await stack.enter_async_context(pages)
        stack.callback(node.stopping.set)
        if config.backup is not None:
            backups = Backups(config.backup, host)
            stack.push_async_callback(_ended, asyncio.create_task(backups.run()))
        for work in (
            agent.run(),
            blobs.run(),
            _forget(host),
            _learn_keys(node, cloud),
            give_back(),
        ):
            task = asyncio.create_task(work)
            stack.push_async_callback(_ended, task)
        log.info("node.serving", address=node.address, node=me.enrolled.node)
        yield node


async def enrol(
    data: Path,
    url: str,
    code: str,
    *,
    ssl: object = True,
    again: bool = False,
    key_from: str = "",
) -> settled.Settled:
    """Make `data` a node of the cloud at `url`, with a one-time code.

    `again` lets a node that was revoked or replaced in anew, by a code made for it: it gets a new
    key, and its data stays. So does that of a node whose file is damaged. With a key at `key_from`
    a new node is encrypted.
    Raises: Misconfigured if it is a node already, or the code is another's; as `at_rest.begin` and
    `CloudClient.enrol` do.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Misconfigured(
            f"{data} cannot be made: {error.strerror}.", hint="Choose another with --data."
        ) from None
    rest = at_rest.begin(data, key_from)
    former = _former(data, again, rest.files)
    anew = again or (data / settled.FILE).exists()
    fresh = secrets.token_bytes(KEY_BYTES)
    key = NodeKey(fresh) if anew else NodeKey.load(data / KEY_FILE, rest.files)
    me = await CloudClient(url, ssl=ssl).enrol(code, key)
    if former is not None and me.enrolled.node != former.enrolled.node:
        raise Misconfigured(
            f"The code makes a node {me.enrolled.name}; {data} is {former.enrolled.name}.",
            code="node.other",
            hint="Ask an owner for a code for this very node, or choose another folder with --data.",
        )
    if anew:
        rest.files.write(data / KEY_FILE, fresh, durable=True)
    settled.save(data, me, rest.files)
    return me


def _former(data: Path, again: bool, files: PrivateFiles) -> settled.Settled | None:
    """The node that `data` is already, if it may be let in again; None if there is none to be read."""
    if not (data / settled.FILE).exists():
        return None
    try:
        there = settled.load(data, files)
    except Corrupt:
        return None
    if not again:
        raise Misconfigured(
            f"{data} is already the node {there.enrolled.name} of {there.enrolled.tenant_name}.",
            code="node.enrolled",
            hint="Choose another folder with --data; or --again, with a code made for this node.",
        )
    return there


async def _host(
    me: settled.Settled, store: SqliteStore, catalogue: Catalogue, files: PrivateFiles
) -> Host:
    given = me.enrolled
    host = Host(
        place=Place(
            tenant=given.tenant,
            node=given.node,
            site=given.site,
            groups=given.groups,
            name=given.name,
        ),
        store=store,
        catalogue=catalogue,
        wall=SystemWall(),
        route=log_route(catalogue.collections),
        private=files,
    )
    await host.start()
    return host


async def _identity(
    me: settled.Settled, key: NodeKey, host: Host, rights: NodeRights
) -> LocalIdentity:
    async def get_mark(name: str) -> Any:
        return (await host.store.marks(name)).get(name)

    async def set_marks(marks: Any) -> None:
        await host.store.commit([], marks=marks)

    identity = LocalIdentity(
        enrolled=me.enrolled,
        key=key,
        get_mark=get_mark,
        set_marks=set_marks,
        now=lambda: host.now().timestamp(),
        rights=rights.of,
        groups=rights.groups,
    )
    await identity.start()
    return identity


class _KnownKeys:
    """Implements `host.ports.Verifier` by the cloud's keys that this node knows."""

    def __init__(self, identity: LocalIdentity) -> None:
        self._identity = identity

    def verify(self, data: bytes, signature: Signature) -> bool:
        return self._identity.verifies(data, signature.key_id, signature.signature)


def _is_cheap(config: NodeConfig) -> bool:
    """Whether what may wait is carried now."""
    return not config.metered and not low_battery()


def _status(host: Host, data: Path) -> Callable[[], dict[str, Any]]:
    """What the cloud is told of the node besides its sync."""
    started_at = host.now()

    def fields() -> dict[str, Any]:
        return {
            "started_at": started_at,
            "latency_ms": round(median(host.took_ms), 1) if host.took_ms else None,
            "disk_free_bytes": shutil.disk_usage(data).free,
            "backup_at": latest(data),
        }

    return fields


async def _forget(host: Host) -> None:
    """Retention: what the cloud has, and is older than its collection wants, leaves the node."""
    while True:
        now_ms = host.clock.now_ms(host.wall.now_ms())
        for declared in host.store.registry:
            if declared.retention_days is None:
                continue
            before = hlc_at(now_ms - declared.retention_days * DAY_MS)
            try:
                while await host.store.forget(declared.name, before):
                    await asyncio.sleep(0)
            except BeiraError as error:
                log.warning("retention.put_off", collection=declared.name, why=error.message)
        await asyncio.sleep(FORGET_EVERY_S)


async def _learn_keys(node: Node, cloud: CloudClient) -> None:
    """Trust the cloud's keys of today, so that people's tokens are known offline after a rotation."""
    while True:
        if node.agent.state.connected:
            try:
                await node.identity.update_keys(await cloud.keys())
            except BeiraError as error:
                log.info("keys.not_learned", why=error.message)
            await asyncio.sleep(LEARN_KEYS_EVERY_S)
        await asyncio.sleep(LEARN_KEYS_FIRST_S)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _files(data: Path, private: PrivateFiles) -> FolderBlobs:
    """Where blobs lie: encrypted where the node is, by a key that is sealed beside them."""
    if not private.sealed:
        return FolderBlobs(data / BLOBS_FOLDER)
    key = private.secret(data / BLOBS_KEY_FILE, KEY_BYTES)
    return FolderBlobs(data / BLOBS_FOLDER / ".sealed", key=key)
