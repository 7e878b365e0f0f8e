"""`beira node restore`: a bare machine becomes a node that was lost, from its backups.

A one-time code lets it in as that very node: from that moment the old machine is shut out. The
recovery key opens the backups. All is fetched, verified and checked in the folder `restore` beside
where it is to be, and moved there only then; who the node is comes last, so that a half-restored
folder is no node. Cut at any moment, the same command goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import structlog

from beira.backup import Generation, Manifest, Place, Pulled, RecoveryKey, Sealer, pull
from beira.backup.folder import nodes_in
from beira.backup.manifest import opened
from beira.identity.node_key import NodeKey
from beira.identity.private_files import PrivateFiles
from beira.identity.vault import KEY_BYTES, sync_folder
from beira.kernel.errors import BeiraError, Corrupt, Full, Invalid, Misconfigured, NotFound
from beira.node import at_rest, backup_files, settled
from beira.node.at_rest import DATABASE_FILE, KEY_FILE
from beira.node.backup import folder_place
from beira.node.backup_check import check_database, forget_comparisons
from beira.node.backup_cloud import CloudPlace
from beira.node.backup_source import LOG_FILE, RESTORE_FOLDER
from beira.node.cloud_client import CloudClient, TokenSource
from beira.sync.blobs.client import BlobClient

log = structlog.get_logger(__name__)
FOLDER = RESTORE_FOLDER
STATE_FILE, READY_FILE, FILES_FOLDER = "state", "ready", "files"
_OWN = "restore on a new machine"
Progress = Callable[[str, Pulled, int], None]
"""Told (what is done now, how far, bytes in all)."""


def _quiet(what: str, pulled: Pulled, total_bytes: int) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be restored: into `data`, from the cloud at `url` and the folder `place`, if there is
    one. `code` may be empty to go on with a restore that was cut. `key_from` is where the key of an
    encrypted node is to be."""

    data: Path
    url: str
    code: str
    key: RecoveryKey
    place: Path | None = None
    key_from: str = ""
    ssl: object = True


class Restored(msgspec.Struct, kw_only=True):
    """What was restored. `skipped` counts newer backups that were damaged; `options` is what the
    node's program was started with; `apps_missing` it had and this machine has not."""

    me: settled.Settled
    taken_ms: int
    size_bytes: int
    fetched_bytes: int
    skipped: int = 0
    options: dict[str, Any] = {}
    apps_missing: tuple[str, ...] = ()


class _State(msgspec.Struct, kw_only=True):
    """What must survive a cut before the node is one: its new key, and who it is once it was let in."""

    private: bytes
    me: settled.Settled | None = None


async def restore(wanted: Wanted, progress: Progress = _quiet) -> Restored:
    """Restore a node into an empty folder.

    Raises: Misconfigured `node.enrolled` and `restore.not_empty`, Invalid `restore.other_node`,
    NotFound `backup.none`, Corrupt `backup.key_wrong` and `backup.chunk`, Full; and as
    `CloudClient.enrol` and `at_rest.adopt` do.
    """
    _check_folder(wanted.data)
    nodes = _nodes_that_open(wanted)  # before the code is used, and the old machine shut out
    state = await _let_in(wanted)
    assert state.me is not None
    node = state.me.enrolled.node
    if nodes is not None and node not in nodes:
        raise Invalid(
            f"The code is for the node {state.me.enrolled.name} ({node}); the backups in "
            f"{wanted.place} that this key opens are of {', '.join(nodes)}.",
            code="restore.other_node",
            hint="In the portal, press “Trocar a máquina deste nó” at the node that was lost, remove "
            f"{wanted.data / FOLDER}, and restore with the code it gives.",
        )
    ready = wanted.data / FOLDER / READY_FILE
    fetched, skipped = 0, 0
    if not ready.exists():
        sealer = wanted.key.sealer(node)
        async with _places(wanted, state, sealer) as places:
            manifest, fetched, skipped = await _fetch(wanted, places, sealer, progress)
        content = msgspec.msgpack.encode(manifest)
        PrivateFiles().write(ready, _sealer(wanted).seal_manifest(content), durable=True)
    manifest = msgspec.msgpack.decode(_unsealed(wanted, ready), type=Manifest)
    await asyncio.to_thread(_settle, wanted, state, manifest)
    here = {entry.name for entry in entry_points(group="beira.apps")}
    return Restored(
        me=state.me,
        taken_ms=manifest.taken_ms,
        size_bytes=manifest.size_bytes,
        fetched_bytes=fetched,
        skipped=skipped,
        options=manifest.options,
        apps_missing=tuple(name for name in manifest.apps if name not in here),
    )


def _check_folder(data: Path) -> None:
    if (data / settled.FILE).exists():
        raise Misconfigured(
            f"{data} is a node already.",
            code="node.enrolled",
            hint="Restore into an empty folder: choose another with --data.",
        )
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = [path.name for path in data.iterdir()]
    except OSError as error:
        raise Misconfigured(
            f"{data} cannot be used: {error.strerror}.", hint="Choose another with --data."
        ) from None
    if found and FOLDER not in found:
        raise Misconfigured(
            f"{data} is not empty: it holds {', '.join(sorted(found)[:5])}.",
            code="restore.not_empty",
            hint="Restore into an empty folder: choose another with --data.",
        )


def _nodes_that_open(wanted: Wanted) -> list[str] | None:
    """The nodes in the given folder whose backups the key opens; None without a folder."""
    if wanted.place is None:
        return None
    found, there = [], nodes_in(wanted.place)
    for node in there:
        sealer = wanted.key.sealer(node)
        for path in (wanted.place / node / "manifests").iterdir():
            with contextlib.suppress(Corrupt):
                opened(path.read_bytes(), sealer)
                found.append(node)
                break
    if not there:
        raise NotFound(
            f"There are no backups in {wanted.place}.",
            code="backup.none",
            hint="Give the folder that the node was told with --backup-to, on a disk that is mounted.",
        )
    if not found:
        raise _key_wrong()
    return found


async def _let_in(wanted: Wanted) -> _State:
    """Become the node in the cloud's eyes, once; from then on the old machine is not."""
    folder = wanted.data / FOLDER
    path = folder / STATE_FILE
    if path.exists():
        state = msgspec.msgpack.decode(_unsealed(wanted, path), type=_State)
    else:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = _State(private=secrets.token_bytes(KEY_BYTES))
        _save(wanted, path, state)
    if state.me is None:
        if not wanted.code:
            raise Invalid(
                "A one-time code is needed.",
                code="restore.code",
                hint="In the portal, press “Trocar a máquina deste nó” at the node that was lost.",
            )
        client = CloudClient(wanted.url, ssl=wanted.ssl)
        state.me = await client.enrol(wanted.code, NodeKey(state.private))
        _save(wanted, path, state)
    return state


@contextlib.asynccontextmanager
async def _places(wanted: Wanted, state: _State, sealer: Sealer) -> AsyncIterator[list[Place]]:
    """Where chunks may be had: the folder first, for it is nearer."""
    assert state.me is not None
    node = state.me.enrolled.node
    client = CloudClient(wanted.url or state.me.cloud, ssl=wanted.ssl)
    token = TokenSource(client, NodeKey(state.private), node)
    blobs = BlobClient(client.url, token, ssl=wanted.ssl)
    places: list[Place] = []
    if wanted.place is not None:
        places.append(folder_place(wanted.place, node, sealer))
    places.append(CloudPlace(client, blobs, token, spare=False))
    try:
        yield places
    finally:
        await blobs.close()


async def _fetch(
    wanted: Wanted, places: Sequence[Place], sealer: Sealer, progress: Progress
) -> tuple[Manifest, int, int]:
    """The newest backup that is whole: its manifest, how many bytes were fetched for it, and how many
    newer ones were not whole. Raises what was wrong with the newest if none is."""
    first: BeiraError | None = None
    for skipped, (generation, holders) in enumerate(await _generations(places)):
        try:
            manifest = await _manifest(generation, holders, sealer)
            if manifest.data_keys and not wanted.key_from:
                at_rest.adopt(wanted.data, manifest.data_keys, "")  # says what is missing
            others = [place for place in places if place not in holders]
            fetched = await _pull(wanted, manifest, [*holders, *others], sealer, progress)
            return manifest, fetched, skipped
        except (Corrupt, NotFound) as error:
            log.warning("restore.skipped", taken_ms=generation.taken_ms, why=error.message)
            first = first or error
    raise first or NotFound(
        "There is no backup of this node.",
        code="backup.none",
        hint="Start it as it is, and what the cloud has comes down: beira node enrol URL CODE, with a "
        "new code for this node.",
    )


async def _generations(places: Sequence[Place]) -> list[tuple[Generation, list[Place]]]:
    """All backups, newest first, each with the places that have it whole. A place that is away is
    passed over if another has any."""
    found: dict[tuple[int, str], tuple[Generation, list[Place]]] = {}
    away: BeiraError | None = None
    for place in places:
        try:
            for generation in await place.generations():
                key = generation.taken_ms, generation.sha256
                found.setdefault(key, (generation, []))[1].append(place)
        except BeiraError as error:
            log.warning("restore.place", place=place.label, why=error.message)
            away = away or error
    if not found and away is not None:
        raise away
    return [found[key] for key in sorted(found, reverse=True)]


async def _manifest(generation: Generation, holders: Sequence[Place], sealer: Sealer) -> Manifest:
    first: BeiraError | None = None
    for place in holders:
        try:
            return opened(await place.manifest(generation), sealer)
        except (Corrupt, NotFound) as error:
            first = first or error
    assert first is not None
    raise first


async def _pull(
    wanted: Wanted,
    manifest: Manifest,
    places: Sequence[Place],
    sealer: Sealer,
    progress: Progress,
) -> int:
    """Fetch all files, and see that the database opens. Returns the bytes that were not here yet."""
    folder = wanted.data / FOLDER / FILES_FOLDER
    total = manifest.size_bytes
    room = shutil.disk_usage(wanted.data).free + _size_of(folder)
    if room < total:
        raise Full(
            f"The backup has {total / 1e9:.1f} GB, and there is room for {room / 1e9:.1f} GB.",
            code="backup.disk",
            hint="Choose a folder on a larger disk with --data.",
        )
    files = [(file, folder / _safe(file.path)) for file in manifest.files]
    pulled = await pull(files, places, sealer, lambda pulled: progress("Baixando", pulled, total))
    progress("Verificando", pulled, total)
    path = folder / DATABASE_FILE
    if path.exists():
        key = at_rest.keyed(manifest.data_keys, moving=manifest.key_moving).database_key(path)
        await asyncio.to_thread(check_database, path, key)
        await asyncio.to_thread(forget_comparisons, path, key)
    return pulled.done_bytes - pulled.kept_bytes


def _settle(wanted: Wanted, state: _State, manifest: Manifest) -> None:
    """Put everything in its place. Each step may have been done before a cut."""
    data, folder = wanted.data, wanted.data / FOLDER
    assert state.me is not None
    if (data / at_rest.FILE).exists():
        rest = at_rest.opened(data, wanted.key_from)
    else:
        moving = manifest.key_moving
        rest = at_rest.adopt(data, manifest.data_keys, wanted.key_from, moving=moving)
    for file in manifest.files:
        source = folder / FILES_FOLDER / _safe(file.path)
        if file.path != LOG_FILE and source.exists():  # the log is in the database by now
            target = data / _safe(file.path)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            source.replace(target)
            sync_folder(target.parent)
    backup_files.write_key(data, rest.files, wanted.key.secret)
    rest.files.write(data / KEY_FILE, state.private, durable=True)
    settled.save(data, state.me, rest.files)
    shutil.rmtree(folder)
    sync_folder(data)
    if wanted.key_from and not rest.encrypted:
        at_rest.rekey(data, wanted.key_from)


def _safe(path: str) -> PurePosixPath:
    """`path` if it stays in the folder. Raises Corrupt."""
    checked = PurePosixPath(path)
    if checked.is_absolute() or ".." in checked.parts or not checked.parts:
        raise Corrupt(f"The backup holds a file {path!r}.", code="backup.manifest")
    return checked


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _sealer(wanted: Wanted) -> Sealer:
    return wanted.key.sealer(_OWN)


def _save(wanted: Wanted, path: Path, state: _State) -> None:
    content = _sealer(wanted).seal_manifest(msgspec.msgpack.encode(state))
    PrivateFiles().write(path, content, durable=True)


def _unsealed(wanted: Wanted, path: Path) -> bytes:
    content = _sealer(wanted).open_manifest(path.read_bytes())
    if content is None:
        raise Corrupt(
            "This is not the recovery key that this restore was begun with.",
            code="backup.key_wrong",
            hint=f"Give that one; or, to begin anew with another, remove {path.parent} and make a new "
            "code in the portal.",
        )
    return content


def _key_wrong() -> Corrupt:
    return Corrupt(
        "This recovery key opens none of the backups.",
        code="backup.key_wrong",
        hint="Each node has its own: give the one that was written down for the node that was lost.",
    )
