"""Replicas of the cloud with the player, over one real PostgreSQL and one folder of blobs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.contract.postgres_fixture import fresh_database, fresh_tenant

from beira.apps.player import app
from beira.apps.player.records import Asset
from beira.blobs import FolderBlobs
from beira.host import Host, Place, Signature, SystemWall
from beira.kernel.access import Kind, Principal
from beira.kernel.app import catalogue
from beira.kernel.record import Record
from beira.kernel.system import NodeInfo, Site
from beira.store.postgres import EmbeddedPostgres, PostgresCloud
from beira.sync.blobs.gate import BlobGate
from beira.sync.blobs.tenant import CloudBlobs
from beira.sync.streams import feed_route

CATALOGUE = catalogue([app])
OWNER = Principal(kind=Kind.SERVICE, id="cloud-demo", tenant="")


class Keys:
    """Signs and verifies as identity does."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def sign(self, data: bytes) -> Signature:
        return Signature(key_id="k1", signature=self._key.sign(data))

    def verify(self, data: bytes, signature: Signature) -> bool:
        try:
            self._key.public_key().verify(signature.signature, data)
        except Exception:
            return False
        return signature.key_id == "k1"


@dataclass
class Replica:
    """One tenant's host in one program."""

    host: Host
    database: PostgresCloud

    async def add(self, data: bytes, name: str = "a.mp3", **more: Any) -> str:
        """Take a file in as an upload does; the asset's id."""
        assert self.host.blobs is not None
        ref = await self.host.blobs.add(data)
        params = {"upload": "u", "name": name, "sha256": ref.sha256, "size_bytes": ref.size_bytes}
        who = Principal(kind=Kind.SERVICE, id="test", tenant=self.host.place.tenant)
        receipt = await self.host.run(
            "player_asset_added", params | more, principal=who, door="test"
        )
        assert receipt.ok, receipt
        return str(receipt.result["asset"])

    async def asset(self, id: str) -> Asset:
        async with self.host.writing() as ctx:
            found = await ctx.get(Asset, id)
        assert found is not None
        return found

    async def put(self, *records: Record, partition: str | None = None) -> None:
        async with self.host.writing() as ctx:
            for record in records:
                ctx.put(record, partition=partition)

    async def shop(
        self, node: str, site: str, groups: tuple[str, ...] = (), zone: str = "America/Sao_Paulo"
    ) -> None:
        await self.put(
            Site(id=site, name=site, zone=zone, groups=list(groups)),
            NodeInfo(id=node, name=node, site=site),
        )


@asynccontextmanager
async def replicas(
    server: EmbeddedPostgres, folder: Path, *, count: int = 2
) -> AsyncIterator[list[Replica]]:
    """`count` of them, for one fresh tenant."""
    dsn, owner_dsn = await fresh_database(server)
    tenant, keys = fresh_tenant(), Keys()
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for n in range(count):
            database = await PostgresCloud.open(dsn, CATALOGUE.collections, owner_dsn=owner_dsn)
            stack.push_async_callback(database.close)
            made.append(
                Replica(await host_at(database, tenant, f"cloud-{n}", folder, keys), database)
            )
        yield made


async def host_at(
    database: PostgresCloud, tenant: str, name: str, folder: Path, keys: Keys
) -> Host:
    host = Host(
        place=Place(tenant=tenant, node=name),
        store=database.tenant(tenant),
        catalogue=CATALOGUE,
        wall=SystemWall(),
        route=feed_route(CATALOGUE.collections),
    )

    async def host_of(_: str) -> Host:
        return host

    host.blobs = CloudBlobs(
        BlobGate(FolderBlobs(folder / "blobs", reserve_bytes=0), host_of), tenant
    )
    host.signer = host.verifier = keys
    await host.start()
    return host


async def until(true: Any, within_s: float = 60.0) -> Any:
    async with asyncio.timeout(within_s):
        while not (found := await true()):
            await asyncio.sleep(0.05)
        return found


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
