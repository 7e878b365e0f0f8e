"""One backup of a node, to each of its places: what the schedule runs in a process of its own, and
`beira node backup --now` in its.

A process of its own, because a database must not be opened beside the node's own connections
(`backup_source`), and so that a small machine holds what only backups need for as long as one takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

import msgspec
import structlog

import beira
from beira.backup import (
    FolderPlace,
    Made,
    Manifest,
    Place,
    RecoveryKey,
    Sealer,
    SourceFile,
    make,
    pull,
    verify,
    verify_there,
)
from beira.backup.making import Known
from beira.backup.manifest import opened, sealed
from beira.host.certificates import trusting
from beira.identity.node_key import NodeKey
from beira.kernel import limits
from beira.kernel.errors import BeiraError, Corrupt, Unavailable
from beira.node import at_rest, backup_files, settled
from beira.node.at_rest import DATABASE_FILE, KEY_FILE, AtRest
from beira.node.backup_check import check_database
from beira.node.backup_cloud import CloudPlace
from beira.node.backup_files import BACKUP_FOLDER, BackupPlan, BackupStatus, PlaceStatus
from beira.node.backup_source import LOG_FILE, beside, snapshot
from beira.node.cloud_client import CloudClient, TokenSource
from beira.sync.blobs.client import BlobClient

log = structlog.get_logger(__name__)
SAMPLE = 32
"""So many chunks are read back after each backup."""
KNOWN_FILE = "known-"
TRIAL_FOLDER = "trial"
CLOUD = "cloud"
NICENESS = 10
Progress = Callable[[str, Made, int], None]
"""Told (place, how far, bytes in all)."""


def _quiet(place: str, made: Made, total_bytes: int) -> None:
    pass


@dataclass
class _Job:
    """What one run needs to know."""

    plan: BackupPlan
    data: Path
    rest: AtRest
    me: settled.Settled
    key: NodeKey
    sealer: Sealer
    progress: Progress
    spare: bool
    chance: random.Random = field(default_factory=random.SystemRandom)


async def back_up(
    plan: BackupPlan, progress: Progress = _quiet, *, spare: bool = True
) -> BackupStatus:
    """Back the node up to each place of `plan`, and write down how that went. A place that fails
    hinders no other; `spare` leaves half of the link to others.

    Raises: Conflict `backup.running`, Misconfigured `backup.no_key`, and as `at_rest.opened`.
    """
    data = Path(plan.data)
    rest = at_rest.opened(data, plan.key_from)
    me = settled.load(data, rest.files)
    sealer = RecoveryKey(backup_files.read_key(data, rest.files)).sealer(me.enrolled.node)
    key = NodeKey.load(data / KEY_FILE, rest.files)
    job = _Job(plan, data, rest, me, key, sealer, progress, spare)
    with backup_files.alone(data):
        shutil.rmtree(data / BACKUP_FOLDER / TRIAL_FOLDER, ignore_errors=True)
        told = backup_files.status(data)
        wanted = [name for name, asked in ((plan.to, plan.to), (CLOUD, plan.cloud)) if asked]
        told.places = {name: told.places.get(name, PlaceStatus()) for name in wanted}
        for name in wanted:
            await _to_place(job, name, told)
    return told


async def _check_still_the_node(token: TokenSource) -> None:
    """The backups of a machine that was replaced would be taken for those of the new one. Raises
    Unauthenticated `node.replaced`; a cloud that is away, or refuses for other reasons, says nothing
    about that."""
    try:
        await token()
    except BeiraError as error:
        if error.code == "node.replaced":
            raise


async def _to_place(job: _Job, name: str, told: BackupStatus) -> None:
    """One place, with what became of it written down."""
    place_told = told.places[name]
    place_told.tried_ms = _now_ms()
    begun_s = time.monotonic()
    try:
        async with _place(job, name) as place, asyncio.timeout(limits.BACKUP_MOST_S):
            await _one(job, place, place_told)
        place_told.error = place_told.code = place_told.next_step = ""
    except TimeoutError:
        _failed(place_told, _too_slow(name))
    except BeiraError as error:
        _failed(place_told, error)
    finally:
        place_told.took_s = round(time.monotonic() - begun_s, 1)
        backup_files.write_status(job.data, told)


def _failed(place_told: PlaceStatus, error: BeiraError) -> None:
    log.warning("backup.failed", code=error.code, why=error.message)
    place_told.error, place_told.code = error.message, error.code
    place_told.next_step = error.hint


@contextlib.asynccontextmanager
async def _place(job: _Job, name: str) -> AsyncIterator[Place]:
    plan = job.plan
    ssl = trusting(_path(plan.ca), _path(plan.client_cert), _path(plan.client_key))
    client = CloudClient(plan.url or job.me.cloud, ssl=ssl)
    token = TokenSource(client, job.key, job.me.enrolled.node)
    await _check_still_the_node(token)
    if name != CLOUD:
        yield folder_place(Path(name), job.me.enrolled.node, job.sealer)
        return
    blobs = BlobClient(client.url, token, ssl=ssl)
    try:
        yield CloudPlace(client, blobs, token, bytes_per_s=plan.bytes_per_s, spare=job.spare)
    finally:
        await blobs.close()


def folder_place(root: Path, node: str, sealer: Sealer) -> FolderPlace:
    """The folder of a node's backups below `root`."""
    return FolderPlace(root, node, lambda data: opened(data, sealer).chunks)


async def _one(job: _Job, place: Place, told: PlaceStatus) -> None:
    known = await _known(job, place, told)
    manifest, new_bytes = await _rounds(job, place, known)
    told.taken_ms, told.size_bytes = manifest.taken_ms, manifest.size_bytes
    told.new_bytes = new_bytes
    await _check(job, place, manifest, told)


async def _known(job: _Job, place: Place, told: PlaceStatus) -> Known:
    """What need not be stored again: what the place's newest backup has, and what a try that was cut
    has sent. Nothing is believed of a place in which something was found damaged."""
    if told.code == "backup.chunk":
        return {}
    known: Known = {}
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        content = _known_file(job, place).read_bytes()
        known.update(msgspec.msgpack.decode(content, type=dict[bytes, tuple[bytes, int]]))
    if not known:
        for generation in (await place.generations())[:1]:
            with contextlib.suppress(BeiraError):
                newest = opened(await place.manifest(generation), job.sealer)
                known.update(_names(newest))
    return known


def _names(manifest: Manifest) -> Iterable[tuple[bytes, tuple[bytes, int]]]:
    for chunk in manifest.chunks.values():
        yield chunk.name, (chunk.sha256, chunk.size_bytes)


async def _rounds(job: _Job, place: Place, known: Known) -> tuple[Manifest, int]:
    """Look at the database, store what is new; again, if that took so long that its log would grow.
    What was stored by then counts, so each round has less to do. Returns also the bytes stored."""
    new_bytes = 0
    idle = 0
    while idle < limits.BACKUP_ROUNDS_IDLE:
        made, manifest = await _round(job, place, known)
        new_bytes += made.new_bytes
        idle = 0 if made.new_bytes else idle + 1
        if manifest is not None:
            content = sealed(manifest, job.sealer)
            lacking = await place.finish(manifest.taken_ms, content, list(manifest.chunks))
            if not lacking:
                _remember(job, place, dict(_names(manifest)))
                return manifest, new_bytes
            gone = set(map(bytes.fromhex, lacking))
            for name in [name for name, (sha256, _) in known.items() if sha256 in gone]:
                del known[name]
        _remember(job, place, known)
    raise Unavailable(
        f"{place.label} does not keep what it was given.",
        code="backup.place",
        hint="It is tried again by itself; if it stays so, look at that disk or the cloud's log.",
    )


async def _round(job: _Job, place: Place, known: Known) -> tuple[Made, Manifest | None]:
    """One look. No manifest if it was not done in time, or keys changed meanwhile."""
    end_s = time.monotonic() + limits.BACKUP_ROUND_S
    key = job.rest.database_key(job.data / DATABASE_FILE)
    with snapshot(job.data, key) as database:
        taken_ms = _now_ms()
        parts = [list(beside(job.data)), [] if database is None else list(database.files())]
        files: list[SourceFile] = list(itertools.chain(*parts))
        total = sum(file.size_bytes for file in files)
        made = await make(
            files,
            place,
            job.sealer,
            known,
            in_time=lambda: time.monotonic() < end_s,
            progress=lambda made: job.progress(place.label, made, total),
        )
    if not made.whole:
        return made, None
    if at_rest.opened(job.data, job.plan.key_from).data_keys != job.rest.data_keys:
        raise Unavailable("The node's keys were changed meanwhile.", code="backup.busy")
    return made, _manifest(job, made, taken_ms)


def _manifest(job: _Job, made: Made, taken_ms: int) -> Manifest:
    given = job.me.enrolled
    return Manifest(
        node=given.node,
        node_name=given.name,
        tenant=given.tenant,
        cloud=job.plan.url or job.me.cloud,
        release=beira.__version__,
        taken_ms=taken_ms,
        files=tuple(made.files),
        machine=job.key.public_key[:16],
        apps=tuple(sorted(entry.name for entry in entry_points(group="beira.apps"))),
        data_keys=job.rest.data_keys,
        key_moving=job.rest.encrypted and job.rest.files.plain_too,
        options=job.plan.options,
    )


async def _check(job: _Job, place: Place, manifest: Manifest, told: PlaceStatus) -> None:
    """Read some of it back. Once a week all of it: what a disk has, with the database opened that
    comes out; what the cloud has by the cloud itself, as the link costs."""
    due = _now_ms() - told.checked_ms >= limits.BACKUP_VERIFY_EVERY_S * 1000
    wholly = due and isinstance(place, FolderPlace)
    try:
        kept = [one for one in await place.generations() if one.taken_ms == manifest.taken_ms]
        for one in kept[:1]:
            opened(await place.manifest(one), job.sealer)
        await _read_back(job, place, manifest, None if wholly else SAMPLE)
        told.read_back_ms = _now_ms()
        if due and isinstance(place, CloudPlace):
            await verify_there(manifest, place)
            told.checked_ms = _now_ms()
        if wholly and await _trial(job, place, manifest):
            told.checked_ms = _now_ms()
    except Corrupt:
        _known_file(job, place).unlink(missing_ok=True)
        raise


async def _read_back(job: _Job, place: Place, manifest: Manifest, most: int | None) -> None:
    try:
        await verify(manifest, place, job.sealer, most=most, chance=job.chance)
    except Corrupt:
        if isinstance(place, CloudPlace):
            await verify_there(manifest, place)  # it must look itself, to take them anew
        raise


async def _trial(job: _Job, place: Place, manifest: Manifest) -> bool:
    """Restore the database beside the node, and have SQLite look at it. False: no room for that."""
    folder = backup_files.folder(job.data) / TRIAL_FOLDER
    wanted = [file for file in manifest.files if file.path in (DATABASE_FILE, LOG_FILE)]
    room = shutil.disk_usage(job.data).free - limits.BLOB_DISK_RESERVE_BYTES
    if sum(file.size_bytes for file in wanted) * 2 > room:
        return False
    try:
        files = [(file, folder / file.path) for file in wanted]
        await pull(files, [place], job.sealer, gently=True)
        path = folder / DATABASE_FILE
        if path.exists():
            await asyncio.to_thread(check_database, path, job.rest.database_key(path))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return True


def _remember(job: _Job, place: Place, known: Known) -> None:
    """Only of the cloud: it verifies before it says that it has something. A folder's own manifests
    say what is surely in it."""
    if isinstance(place, FolderPlace):
        return
    path = _known_file(job, place)
    path.with_suffix(".new").write_bytes(msgspec.msgpack.encode(known))
    path.with_suffix(".new").replace(path)


def _known_file(job: _Job, place: Place) -> Path:
    where = f"{job.plan.url or job.me.cloud}\0{place.label}"
    name = hashlib.sha256(where.encode()).hexdigest()[:16]
    return backup_files.folder(job.data) / (KNOWN_FILE + name)


def _too_slow(name: str) -> Unavailable:
    return Unavailable(
        f"The backup to {name} took too long.",
        code="backup.slow",
        hint="The next one goes on where it was. Give it a faster link, or a disk with --backup-to.",
    )


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main(given: str) -> None:
    """Run the backup that `given` (BackupPlan as JSON) describes, giving way to everything else."""
    from beira.host.logs import configure_logs
    from beira.node.process import failing_plainly

    async def giving_way(plan: BackupPlan) -> None:
        pool = ThreadPoolExecutor(limits.BACKUP_THREADS, initializer=_give_way)
        asyncio.get_running_loop().set_default_executor(pool)
        await back_up(plan)

    with failing_plainly():
        configure_logs(None)
        asyncio.run(giving_way(msgspec.json.decode(given, type=BackupPlan)))


def _give_way() -> None:
    """Only the threads that work: the one that holds writers up must not wait for its turn."""
    if sys.platform == "linux":  # where a priority is a thread's own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


if __name__ == "__main__":
    main(sys.argv[1])
