"""One replica of the cloud: database, identity, gate, API and portal, made and joined together."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
from litestar import Litestar, Request, Response, Router
from litestar.datastructures import State

import beira
from beira.api import Api, ApiSettings, Door
from beira.api.accounts import CloudAccounts
from beira.api.errors import HANDLERS
from beira.api.upload_routes import upload_routes
from beira.api.uploads import Uploads
from beira.blobs import BlobStore, open_blobs
from beira.cloud.moving import remembered
from beira.cloud.opening import Opening
from beira.cloud.places import follow_places
from beira.cloud.rights import follow_rights
from beira.host import Host, Place, Signature, SystemWall, Wall, tracing
from beira.host.apps import installed, load
from beira.host.listen import Listen
from beira.host.memory import hold_much, settled
from beira.host.serve import serving
from beira.identity import Identity, server_key
from beira.identity.shapes import FirstOwner, Revocation
from beira.identity.tenants import service
from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.app import Catalogue
from beira.kernel.errors import BeiraError, Conflict, Denied, Misconfigured, NotFound
from beira.kernel.record import Value
from beira.portal import Portal
from beira.store.port import Store
from beira.store.postgres import EmbeddedPostgres, PostgresCloud
from beira.store.postgres.failures import away
from beira.sync.blobs.collector import Collector
from beira.sync.blobs.gate import BlobGate
from beira.sync.blobs.routes import blob_routes
from beira.sync.blobs.tenant import CloudBlobs
from beira.sync.cloud import tombstones
from beira.sync.cloud.answers import Answers, answer_routes
from beira.sync.cloud.backup_gate import BackupGate, backup_routes
from beira.sync.cloud.conversation import Still
from beira.sync.cloud.gate import Gate
from beira.sync.cloud.routes import sync_routes
from beira.sync.dictionaries.cloud import CloudDictionaries
from beira.sync.streams import feed_route

log = structlog.get_logger(__name__)
EPOCH_MARK = "cloud.epoch"
EPOCH_FRESH_S = 5.0
"""How long another replica may not know yet that the database was given another name."""
TIDY_EVERY_S = 3_600
COLLECT_LOOK_S = 600
SCRATCH_FOLDER = "scratch"
_NO_PAGES = (
    "/rest/", "/auth/", "/realtime/", "/storage/", "/sync/", "/apps/", "/media/", "/static/",
    "/healthz", "/metrics",
)  # fmt: skip


@dataclass(frozen=True)
class CloudConfig:
    """What the operator decides. Without `database_url` an embedded PostgreSQL runs in `data`;
    without `blobs` (a folder, or s3://bucket/prefix) they are in `data` too."""

    data: Path
    listen: Listen
    database_url: str = ""
    owner_url: str = ""
    public_url: str = ""
    apps: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    metrics_from: tuple[str, ...] = ()
    blobs: str = ""


class Cloud:
    """What the parts of one replica share: a host for each tenant, made when first asked for."""

    def __init__(
        self,
        database: PostgresCloud,
        identity: Identity,
        catalogue: Catalogue,
        wall: Wall,
        storage: BlobStore,
        opening: Opening | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.blobs = BlobGate(storage, self.host_of_tenant)
        self.uploads = Uploads(storage, self.blobs)
        self.dictionaries = CloudDictionaries(self.host_of_tenant)
        self.database = database
        self.identity = identity
        self.catalogue = catalogue
        self.opening = opening or Opening(database, identity, persevere=False)
        self._wall = wall
        self._scratch = scratch
        self.stopping = asyncio.Event()
        self._replica = f"cloud-{secrets.token_hex(4)}"
        self._hosts: dict[str, Host] = {}
        self._epochs: dict[str, tuple[float, str]] = {}
        self._making = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()

    async def host_of(self, principal: Principal) -> Host:
        """The data of whoever asks. Raises Denied for a platform admin outside any tenant."""
        if not principal.tenant:
            raise Denied(
                "Platform administrators see no tenant's data.", hint="Sign in to a tenant."
            )
        return await self.host_of_tenant(principal.tenant)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Of the tenants that this replica has served so far."""
        return tuple(self._hosts.values())

    async def host_of_tenant(self, tenant: str) -> Host:
        if tenant not in self._hosts:
            async with self._making:
                if tenant not in self._hosts:
                    self._hosts[tenant] = await self._make_host(tenant)
        return self._hosts[tenant]

    async def known_host(self, tenant: str) -> Host:
        """The host of a tenant that a stranger's address names. Raises NotFound unless there is one
        with a site: nothing is made for a name that was made up."""
        if tenant not in self._hosts and not await self.identity.tenants.sites(service(tenant)):
            raise NotFound("There is no such tenant.", code="tenant.unknown")
        return await self.host_of_tenant(tenant)

    async def epoch_of(self, tenant: str) -> str:
        """What names this database: a restored or another one has another name."""
        known_s, name = self._epochs.get(tenant, (0.0, ""))
        if time.monotonic() >= known_s:
            name = await self._read_epoch((await self.host_of_tenant(tenant)).store)
            self._epochs[tenant] = (time.monotonic() + EPOCH_FRESH_S, name)
        return f"{name}.{await self.database.instance()}"

    async def _read_epoch(self, store: Store) -> str:
        marks = await store.marks(EPOCH_MARK)
        if EPOCH_MARK not in marks:
            with contextlib.suppress(Conflict):
                made = secrets.token_hex(8)
                await store.commit([], marks={EPOCH_MARK: made}, expect={EPOCH_MARK: None})
            marks = await store.marks(EPOCH_MARK)
        return str(marks[EPOCH_MARK])

    async def renew_epoch(self, tenant: str, old: str) -> str:
        """Name the database anew, unless somebody has done so already; the name it has now."""
        store = (await self.host_of_tenant(tenant)).store
        with contextlib.suppress(Conflict):
            marks: dict[str, Value] = {EPOCH_MARK: secrets.token_hex(8)}
            await store.commit([], marks=marks, expect={EPOCH_MARK: old.partition(".")[0]})
        self._epochs.pop(tenant, None)
        return await self.epoch_of(tenant)

    async def forget_deletions(self) -> None:
        """Collect the tombstones that no node of the tenants served here needs any more."""
        for tenant, host in list(self._hosts.items()):
            try:
                await tombstones.collect(host)
            except BeiraError as error:
                log.info("tombstones.put_off", tenant=tenant, why=error.message)

    async def forget_uploads(self) -> None:
        """End the uploads, of the tenants served here, that nobody went on with in time."""
        for tenant, host in list(self._hosts.items()):
            try:
                await self.uploads.tidy(host)
            except BeiraError as error:
                log.info("uploads.not_tidied", tenant=tenant, why=error.message)

    async def follow_places(self, tenant: str) -> None:
        await follow_places(await self.host_of_tenant(tenant), self.identity)

    async def follow_rights(self, tenant: str) -> None:
        """Have the records of members' rights follow identity, for tenants that work here (empty: all
        of them); another replica, or this one later, does so for the rest when they are taken up."""
        for name in [tenant] if tenant else list(self._hosts):
            if name in self._hosts:
                await follow_rights(self._hosts[name], self.identity)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _make_host(self, tenant: str) -> Host:
        host = Host(
            place=Place(tenant=tenant, node=self._replica),
            store=self.database.tenant(tenant),
            catalogue=self.catalogue,
            wall=self._wall,
            route=feed_route(self.catalogue.collections),
        )
        host.blobs = CloudBlobs(self.blobs, tenant, self._scratch)
        host.signer = host.verifier = _Signing(self.identity)
        await host.start()
        await follow_places(host, self.identity)
        await follow_rights(host, self.identity)
        for app in self.catalogue.apps:
            if app.cloud:
                await self._stack.enter_async_context(load(app.cloud)(host))
        return host


class _Signing:
    """Implements `host.ports.Signer` and `Verifier` by identity's keys."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def sign(self, data: bytes) -> Signature:
        key_id, signature = self._identity.sign_bytes(data)
        return Signature(key_id=key_id, signature=signature)

    def verify(self, data: bytes, signature: Signature) -> bool:
        return self._identity.verifies(data, signature.key_id, signature.signature)


@contextlib.asynccontextmanager
async def running(config: CloudConfig) -> AsyncIterator[tuple[Cloud, str]]:
    """Run a replica while the context lasts; gives its parts and its address.

    A database of its own (embedded) must start; one at `database_url` may be away, and then the
    replica serves without it until it comes: `cloud.opening` says how far that is.
    """
    hold_much()
    _make_folder(config.data)
    catalogue = installed(config.apps)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, tracing.begin("beira-cloud"))
        database = await _database(config, catalogue, stack)
        public_url = config.public_url or f"{config.listen.scheme}://localhost:{config.listen.port}"
        identity = Identity(database, server_key(config.data), public_url=public_url)
        stack.push_async_callback(identity.close)
        external = bool(config.database_url or remembered(config.data))
        opening = Opening(database, identity, persevere=external)
        stack.push_async_callback(opening.close)
        await opening.begin()
        storage = await open_blobs(config.blobs, config.data / "blobs")
        cloud = Cloud(
            database,
            identity,
            catalogue,
            SystemWall(),
            storage,
            opening,
            config.data / SCRATCH_FOLDER,
        )
        stack.push_async_callback(cloud.close)
        gate = Gate(
            host_of=cloud.host_of_tenant,
            epoch_of=cloud.epoch_of,
            renew_epoch=cloud.renew_epoch,
            tickets=identity.nodes.tickets,
            release=beira.__version__,
        )
        rechecks: set[asyncio.Task[None]] = set()
        stack.callback(identity.subscribe(lambda news: _recheck(cloud, gate, news, rechecks)))
        tidying = asyncio.create_task(_tidy(cloud))
        stack.callback(tidying.cancel)
        collecting = asyncio.create_task(_collect(cloud))
        stack.callback(collecting.cancel)
        training = asyncio.create_task(cloud.dictionaries.run())
        stack.callback(training.cancel)
        settling = asyncio.create_task(settled())
        stack.callback(settling.cancel)
        site = _app(cloud, gate, config)
        address = await stack.enter_async_context(serving(site, config.listen))
        stack.callback(gate.stop)
        stack.callback(cloud.stopping.set)
        log.info("cloud.serving", address=address, release=beira.__version__)
        yield cloud, address


async def first_owner(config: CloudConfig, tenant: str, email: str) -> FirstOwner:
    """Make the first tenant and its owner. Raises Conflict `identity.not_first` if there is one."""
    async with _identity(config) as identity:
        return await identity.people.create_first_owner(tenant, email)


async def reset_password(config: CloudConfig, email: str, password: str) -> None:
    """Give somebody a new password, at the cloud's machine; all their sessions end everywhere, and
    their second factor goes off. The cloud may run meanwhile. Raises NotFound, Invalid."""
    async with _identity(config) as identity:
        operator = service("", "operator")
        await identity.people.reset_password(operator, email, password)


@contextlib.asynccontextmanager
async def _identity(config: CloudConfig) -> AsyncIterator[Identity]:
    """Identity alone, for a short command."""
    async with beside(config) as (_, identity):
        yield identity


@contextlib.asynccontextmanager
async def beside(config: CloudConfig) -> AsyncIterator[tuple[PostgresCloud, Identity]]:
    """The database and identity for a short command, beside the running cloud if there is one."""
    _make_folder(config.data)
    async with contextlib.AsyncExitStack() as stack:
        database = await _database(config, installed(config.apps), stack, beside=True)
        identity = Identity(database, server_key(config.data), public_url="http://localhost")
        stack.push_async_callback(identity.close)
        await Opening(database, identity, persevere=False).begin()
        yield database, identity


def _make_folder(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o711)
    except OSError as error:
        raise Misconfigured(
            f"{data} cannot be made: {error.strerror}.",
            code="store.denied",
            hint="Choose another with --data, or give this user the right to write there.",
        ) from None


class _Accounts(CloudAccounts):
    """Identity as the API wants it; a node that enrols is shown among the tenant's nodes at once."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud.identity)
        self._cloud = cloud

    async def enrol(self, body: object, *, address: str) -> msgspec.Struct:
        enrolled = await super().enrol(body, address=address)
        await self._cloud.follow_places(msgspec.to_builtins(enrolled)["tenant"])
        return enrolled


def _app(cloud: Cloud, gate: Gate, config: CloudConfig) -> Litestar:
    accounts = _Accounts(cloud)
    admit = partial(_admit, cloud.identity)
    door = Door(accounts, cloud)
    portal = Portal(door=door, identity=cloud.identity, cloud=cloud, proxies=config.proxies)

    async def before_request(request: Request[Any, Any, Any]) -> Response[Any] | None:
        """While the database was never there, no page has anything to show but that."""
        page = not request.url.path.startswith(_NO_PAGES)
        if cloud.opening.done or not page:
            return None
        return portal.desk.away(request, away("the cloud is starting and waits for it"))

    return Litestar(
        route_handlers=[
            sync_routes(gate, admit, cloud.dictionaries),
            blob_routes(cloud.blobs, admit),
            backup_routes(BackupGate(cloud.blobs, cloud.host_of_tenant), admit),
            answer_routes(Answers(cloud.catalogue, cloud.host_of_tenant), admit),
            upload_routes(cloud.uploads, portal.desk.signed_in),
            _apps_pages(cloud.catalogue),
        ],
        plugins=[
            Api(
                door,
                sign_in=accounts,
                nodes=accounts,
                revocations=accounts,
                settings=ApiSettings(
                    origins=config.origins,
                    proxies=config.proxies,
                    metrics_from=(*ApiSettings().metrics_from, *config.metrics_from),
                ),
            ),
            portal,
        ],
        before_request=before_request,
        state=State(
            {
                "stopping": cloud.stopping,
                "away": lambda: cloud.opening.away,
                "host_of_tenant": cloud.known_host,
                "signed_in": portal.desk.signed_in,
            }
        ),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=limits.MESSAGE_BYTES,
    )


def _apps_pages(catalogue: Catalogue) -> Router:
    """The apps' own handlers, with the API's way to tell errors."""
    pages = [
        handler for app in catalogue.apps if app.cloud_pages for handler in load(app.cloud_pages)
    ]
    return Router(
        path="/", route_handlers=pages, exception_handlers=HANDLERS, include_in_schema=False
    )


async def _database(
    config: CloudConfig,
    catalogue: Catalogue,
    stack: contextlib.AsyncExitStack,
    *,
    beside: bool = False,
) -> PostgresCloud:
    """The database, not connected yet. `beside` takes the embedded one that another program runs."""
    dsn, owner = config.database_url, config.owner_url or None
    if not dsn and (moved := remembered(config.data)):
        dsn, owner = moved.url, moved.owner_url or None
    if not dsn:
        start = EmbeddedPostgres.start_or_join if beside else EmbeddedPostgres.start
        embedded = await start(config.data / "postgres")
        stack.push_async_callback(embedded.stop)
        dsn, owner = embedded.dsn, embedded.owner_dsn
    database = PostgresCloud(dsn, catalogue.collections, owner)
    stack.push_async_callback(database.close)
    return database


async def _admit(identity: Identity, token: str) -> tuple[Principal, Still]:
    grant = await identity.grant(token)
    return grant.principal, partial(identity.still, grant)


def _recheck(cloud: Cloud, gate: Gate, news: Revocation, tasks: set[asyncio.Task[None]]) -> None:
    """Live connections of nodes follow what identity tells, and so do the records of rights; people's
    connections are the API's own."""
    works: list[Coroutine[Any, Any, None]] = []
    if news.kind == "node":
        works.append(gate.recheck(news.tenant, news.id))
    if news.kind in ("tenant", "lost"):
        works.append(gate.recheck(news.tenant))
    if news.kind in ("account", "lost"):
        works.append(_told_rights(cloud, news.tenant))
    for work in works:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _told_rights(cloud: Cloud, tenant: str) -> None:
    """Tries until it has worked: a right that was withdrawn must not wait for somebody's restart."""
    wait_s = limits.RECONNECT_FIRST_S
    while True:
        try:
            return await cloud.follow_rights(tenant)
        except BeiraError as error:
            log.warning("rights.not_told", why=error.message, again_in_s=wait_s)
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, limits.RECONNECT_MOST_S)


async def _tidy(cloud: Cloud) -> None:
    while True:
        await asyncio.sleep(TIDY_EVERY_S)
        try:
            await cloud.identity.tidy()
        except BeiraError as error:
            log.info("identity.not_tidied", why=error.message)
        await cloud.forget_deletions()
        await cloud.forget_uploads()


async def _collect(cloud: Cloud) -> None:
    """Remove blobs that no record names, of each tenant served here in its turn."""
    while True:
        for host in cloud.hosts:
            try:
                await Collector(cloud.blobs.storage, host).collect()
            except BeiraError as error:
                log.info("blob.not_collected", tenant=host.place.tenant, why=error.message)
        await asyncio.sleep(COLLECT_LOOK_S)
