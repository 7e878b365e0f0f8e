# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A machine is lost, and a bare one becomes it: what it held and had not sent arrives, what it sent
after its last backup comes back, and the old machine, should it wake, is told that it was replaced."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
from pathlib import Path

import pytest

from beira.apps.voice.records import CustomerRequest, Person
from beira.backup import RecoveryKey
from beira.host import Host
from beira.identity.tenants import service
from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.backup import CheckChunks, KeepBackup
from beira.kernel.blob import BlobRef
from beira.kernel.errors import NotFound
from beira.kernel.query import Query
from beira.node import at_rest, backup, backup_files, settled
from beira.node import program as node_program
from beira.node.backup import back_up
from beira.node.backup_files import BackupPlan
from beira.node.program import Node
from beira.sync.cloud.backup_gate import BackupGate
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    command,
    commands,
    company,
    connected,
    drained,
    free_port,
    postgres_directory,
    postgres_server,
    program,
    put,
    row_of,
    until,
)

KEY = re.compile(r"(?:[A-Z2-7]{4}-){7}[A-Z2-7]{4}")


async def request(node: Node, id: str) -> None:
    await put(node.host, CustomerRequest(id=id, text=f"pedido {id}", at=node.host.now()))


async def asked(*arguments: str) -> tuple[int, str]:
    return await asyncio.to_thread(command, *arguments)


async def key_of(data: Path) -> str:
    """Make the recovery key, and write it down."""
    code, said = await asked("node", "backup-key", "--data", str(data))
    found = KEY.search(said)
    assert code == 0 and found, said
    return found[0]


async def code_for(company: Company, tenant: str, data: Path) -> str:
    node = settled.load(data).enrolled.node
    nodes = company.cloud.identity.nodes
    return (await nodes.make_code(service(tenant), f"{tenant}-1", node=node)).code


@pytest.fixture
def usb(tmp_path: Path) -> Path:
    (tmp_path / "usb").mkdir()
    return tmp_path / "usb"


@pytest.mark.parametrize("kept", ["folder", "cloud"])
async def test_a_lost_machine_comes_back_with_all_it_held(
    company: Company, tmp_path: Path, usb: Path, kept: str
) -> None:
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    await put(cloud, *(Person(id=f"p{n}", name=f"João {n}") for n in range(20)))
    data = await company.enrol(tenant)
    async with company.plug() as plug, company.node(data, plug) as node:
        await row_of(node.store, "people", "p19")
        await request(node, "sent")
        await drained(node)
        (data / "voice").mkdir(exist_ok=True)
        node.host.private.write(data / "voice" / "voice.npz", b"a voice" * 1000)
        key = await key_of(data)
        plug.pull()
        await until(lambda: not node.agent.state.connected)
        await request(node, "unsent")
        to = ("--to", str(usb)) if kept == "folder" else ()
        code, said = await asked("node", "backup", "--now", "--data", str(data), *to)
        assert code == 0 and "were new" in said, said
        await request(node, "only at the old machine")
        plug.put_back()
        await connected(node)
        await request(node, "sent after the backup")
        await drained(node)

    bare = tmp_path / "bare"
    one_time = await code_for(company, tenant, data)
    where = ("--from", str(usb)) if kept == "folder" else ()
    code, said = await asked(
        "node", "restore", one_time, "--cloud", company.address, *where,
        "--recovery-key", key, "--data", str(bare),
    )  # fmt: skip
    assert code == 0 and "beira node run" in said, said
    assert (bare / "voice" / "voice.npz").read_bytes() == b"a voice" * 1000
    assert not (bare / "restore").exists()

    async with company.node(bare) as restored:
        assert await restored.store.get("people", "p19") is not None
        assert await restored.store.get("customer_requests", "unsent") is not None
        await connected(restored)
        await drained(restored)
        await row_of(restored.store, "customer_requests", "sent after the backup")
        await row_of(restored.store, "customer_requests", "only at the old machine")
        await request(restored, "at the new machine")
        await row_of(cloud.store, "customer_requests", "at the new machine")
        for id in ("sent", "unsent", "sent after the backup"):
            assert await cloud.store.get("customer_requests", id) is not None

        async with company.node(data) as old:  # the old machine wakes
            await request(old, "written when it woke")
            await until(lambda: "Another machine" in old.agent.state.last_error)
            assert "--again" in old.agent.state.next_step
            code, said = await asked(
                "node", "backup", "--now", "--data", str(data), "--to", str(usb)
            )
            assert code == 1 and "node.replaced" in said, said
            held = await old.agent.pending()
            assert sum(lane.count for lane in held.values()) >= 1, "what is unsent is kept"
        await request(restored, "still the node")
        await row_of(cloud.store, "customer_requests", "still the node")


async def test_what_was_never_sent_arrives_once(
    company: Company, tmp_path: Path, usb: Path
) -> None:
    """The machine burns while it is offline: its backup is all there is of what it wrote."""
    tenant = await company.tenant("bistek")
    cloud = await company.host(tenant)
    data = await company.enrol(tenant)
    async with company.plug() as plug, company.node(data, plug) as node:
        await connected(node)
        key = await key_of(data)
        plug.pull()
        await until(lambda: not node.agent.state.connected)
        for n in range(50):
            await request(node, f"r{n}")
        code, said = await asked("node", "backup", "--now", "--data", str(data), "--to", str(usb))
        assert code == 0, said
    one_time = await code_for(company, tenant, data)
    shutil.rmtree(data)
    bare = tmp_path / "bare"
    code, said = await asked(
        "node", "restore", one_time, "--cloud", company.address, "--from", str(usb),
        "--recovery-key", key, "--data", str(bare),
    )  # fmt: skip
    assert code == 0, said
    async with company.node(bare) as restored:
        await drained(restored)
    rows = [await cloud.store.get("customer_requests", f"r{n}") for n in range(50)]
    assert all(row is not None and not row.deleted for row in rows)


async def small_node(company: Company, tenant: str, *ids: str, key_from: str = "") -> Path:
    """A node with some requests that were never sent."""
    code = await company.cloud.identity.nodes.make_code(service(tenant), f"{tenant}-1", name="loja")
    data = company.folder / f"node-of-{tenant}"
    await node_program.enrol(data, company.address, code.code, key_from=key_from)
    async with company.plug() as plug:
        plug.pull()
        async with company.node(data, plug) as node:
            for id in ids:
                await request(node, id)
    return data


def restoring(company: Company, code: str, key: str, bare: Path, *more: str) -> tuple[str, ...]:
    return (
        "node", "restore", code, "--cloud", company.address, "--recovery-key", key,
        "--data", str(bare), *more,
    )  # fmt: skip


async def test_a_wrong_key_or_code_is_said_before_the_old_machine_is_shut_out(
    company: Company, tmp_path: Path, usb: Path
) -> None:
    tenant = await company.tenant("giassi")
    data = await small_node(company, tenant, "kept")
    told = await asyncio.to_thread(
        commands,
        ("node", "backup", "--now", "--data", str(data), "--to", str(usb)),
        ("node", "backup", "--status", "--data", str(data)),
    )
    assert all(code == 1 and "backup.no_key" in said for code, said in told), told
    key = await key_of(data)
    assert await key_of(data) == key, "it is the same when it is shown again"
    code, said = await asked("node", "backup", "--now", "--data", str(data), "--to", str(usb))
    assert code == 0, said
    one_time = await code_for(company, tenant, data)
    other = RecoveryKey.fresh().text
    bare, full = tmp_path / "bare", tmp_path / "full"
    full.mkdir()
    (full / "something").touch()
    where = ("--from", str(usb))
    told = await asyncio.to_thread(
        commands,
        restoring(company, one_time, other, bare, *where),
        restoring(company, one_time, key[:-4] + "AAAA", bare, *where),
        restoring(company, one_time, key, bare, "--from", str(tmp_path / "absent")),
        restoring(company, one_time, key, full, *where),
        restoring(company, "AAAA-AAAA", key, bare, *where),
        restoring(company, one_time, key, bare, *where),
    )
    wanted = (
        "backup.key_wrong",
        "backup.key_text",
        "backup.place",
        "restore.not_empty",
        "enrol.code",
    )
    for (code, said), error in zip(told, wanted, strict=False):
        assert code == 1 and error in said and "→" in said, said
    assert told[-1][0] == 0, told[-1]
    async with company.node(bare) as restored:
        assert await restored.store.get("customer_requests", "kept") is not None


@pytest.mark.long
async def test_an_encrypted_node_stays_so(company: Company, tmp_path: Path, usb: Path) -> None:
    tenant = await company.tenant("condor")
    key_from = f"file:{tmp_path}/key/of-old"
    data = await small_node(company, tenant, "segredo", key_from=key_from)
    key = await key_of(data)
    code, said = await asked("node", "backup", "--now", "--data", str(data), "--to", str(usb))
    assert code == 0, said
    bare = tmp_path / "bare"
    one_time = await code_for_name(company, tenant)
    where = ("--from", str(usb))
    code, said = await asked(*restoring(company, one_time, key, bare, *where))
    assert code == 1 and "at_rest.key_missing" in said and "--key-from" in said, said
    new_key = f"file:{tmp_path}/key/of-new"
    code, said = await asked(*restoring(company, "", key, bare, *where, "--key-from", new_key))
    assert code == 0, said
    async with company.node(bare) as restored:
        assert await restored.store.get("customer_requests", "segredo") is not None
        await drained(restored)
    for folder in (usb, bare):
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert b"segredo" not in content and b"SQLite format 3" not in content, path


@pytest.mark.long
async def test_a_plain_node_may_be_restored_encrypted(
    company: Company, tmp_path: Path, usb: Path
) -> None:
    tenant = await company.tenant("muffato")
    data = await small_node(company, tenant, "claro")
    key = await key_of(data)
    code, said = await asked("node", "backup", "--now", "--data", str(data), "--to", str(usb))
    assert code == 0, said
    bare, key_from = tmp_path / "bare", f"file:{tmp_path}/key/new"
    one_time = await code_for(company, tenant, data)
    more = ("--from", str(usb), "--key-from", key_from)
    code, said = await asked(*restoring(company, one_time, key, bare, *more))
    assert code == 0, said
    assert b"claro" not in (bare / "node.db").read_bytes()
    async with company.node(bare) as restored:
        assert await restored.store.get("customer_requests", "claro") is not None


async def code_for_name(company: Company, tenant: str) -> str:
    (node,) = await company.cloud.identity.nodes.of(service(tenant))
    nodes = company.cloud.identity.nodes
    return (await nodes.make_code(service(tenant), f"{tenant}-1", node=node.id)).code


@pytest.mark.long
async def test_what_a_disk_garbled_comes_from_the_cloud_or_an_older_backup(
    company: Company, tmp_path: Path, usb: Path
) -> None:
    tenant = await company.tenant("zaffari")
    data = await small_node(company, tenant, "first")
    key = await key_of(data)
    backup = ("node", "backup", "--now", "--data", str(data))
    code, said = await asked(*backup, "--to", str(usb))
    assert code == 0, said
    before = set((usb).rglob("chunks/*/*"))
    async with company.plug() as plug:
        plug.pull()
        async with company.node(data, plug) as node:
            await request(node, "second")
    told = await asyncio.to_thread(commands, backup, (*backup, "--to", str(usb)))
    assert all(code == 0 for code, _ in told), told
    for path in set(usb.rglob("chunks/*/*")) - before:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    where = ("--from", str(usb))
    both, alone = tmp_path / "both", tmp_path / "alone"
    code, said = await asked(
        *restoring(company, await code_for(company, tenant, data), key, both, *where)
    )
    assert code == 0 and "passed over" not in said, said
    async with company.plug() as plug:
        plug.pull()
        async with company.node(both, plug) as restored:
            assert await restored.store.get("customer_requests", "second") is not None

    node = settled.load(data).enrolled.node
    for blob in (company.folder / "cloud" / "blobs" / tenant / "blobs").glob("*/*"):
        blob.unlink()
    code, said = await asked(
        *restoring(company, await code_for(company, tenant, data), key, alone, *where)
    )
    assert code == 0 and "2 newer backups were damaged" in said, said
    assert settled.load(alone).enrolled.node == node
    async with company.plug() as plug:
        plug.pull()
        async with company.node(alone, plug) as restored:
            assert await restored.store.get("customer_requests", "first") is not None
            assert await restored.store.get("customer_requests", "second") is None


async def test_killed_at_any_moment_a_backup_and_a_restore_go_on(
    company: Company, tmp_path: Path, usb: Path
) -> None:
    tenant = await company.tenant("nacional")
    data = await small_node(company, tenant, "kept")
    (data / "voice").mkdir()
    noise = random.Random(1).randbytes(12_000_000)
    (data / "voice" / "noise.bin").write_bytes(noise)
    key = await key_of(data)
    chance = random.Random()
    backup = ("node", "backup", "--now", "--data", str(data), "--to", str(usb))
    for number in range(3):
        async with program(tmp_path / f"backup-{number}.log", *backup) as running:
            chunks = chance.randrange(2, 12)
            await until(
                lambda chunks=chunks, running=running: (
                    running.code is not None or len(list(usb.rglob("chunks/*/*"))) >= chunks
                )
            )
            running.kill()
    code, said = await asked(*backup)
    assert code == 0, said

    bare, one_time = tmp_path / "bare", await code_for(company, tenant, data)
    arguments = restoring(company, one_time, key, bare, "--from", str(usb))
    for number in range(3):
        async with program(tmp_path / f"restore-{number}.log", *arguments) as running:
            seen = chance.choice(["restore", "restore/state", "restore/files", "restore/ready"])
            await until(
                lambda seen=seen, running=running: (
                    running.code is not None or (bare / seen).exists()
                )
            )
            running.kill()
    if not (bare / settled.FILE).exists():
        code, said = await asked(*arguments)
        assert code == 0, said
    assert (bare / "voice" / "noise.bin").read_bytes() == noise
    async with company.node(bare) as restored:
        assert await restored.store.get("customer_requests", "kept") is not None
        await drained(restored)


@pytest.mark.long
async def test_a_running_node_backs_itself_up(company: Company, tmp_path: Path, usb: Path) -> None:
    """The real program: to a disk and to the cloud, and what it was missing is made up at once."""
    tenant = await company.tenant("savegnago")
    data = await small_node(company, tenant, "kept")
    await key_of(data)
    port = free_port()
    run = (
        "node", "run", "--data", str(data), "--port", str(port), "--backup-to", str(usb),
        "--cloud", company.address,
    )  # fmt: skip

    def taken() -> bool:
        places = backup_files.status(data).places
        return len(places) == 2 and all(place.taken_ms for place in places.values())

    async with program(tmp_path / "node.log", *run) as node:
        await until(taken, node.said())
        cloud = await company.host(tenant)
        id = settled.load(data).enrolled.node
        await until(lambda: told_of_backup(cloud, id))
    places = backup_files.status(data).places
    assert set(places) == {str(usb), "cloud"} and not any(p.error for p in places.values())
    assert places[str(usb)].checked_ms and places["cloud"].read_back_ms


async def told_of_backup(cloud: Host, id: str) -> bool:
    row = await cloud.store.get("node_status", id)
    return row is not None and bool(row.fields.get("backup_at"))


@pytest.mark.parametrize("read_back", [0, 32])
async def test_what_the_clouds_disk_garbled_is_found_and_sent_again(
    company: Company, monkeypatch: pytest.MonkeyPatch, read_back: int
) -> None:
    """By the cloud's own weekly reading, and by the sample that the node reads back."""
    tenant = await company.tenant("comper")
    data = await small_node(company, tenant, "kept")
    backup_files.write_key(data, at_rest.opened(data, "").files, RecoveryKey.fresh().secret)
    plan = BackupPlan(data=str(data), url=company.address)
    told = (await back_up(plan)).places["cloud"]
    assert told.checked_ms and not told.error

    cloud, storage = await company.host(tenant), company.cloud.blobs.storage
    (part,) = (await cloud.store.query(Query(collection="backup_chunks"))).rows
    name = part["chunks"][0]
    size = await storage.size(tenant, name)
    whole = await storage.read(tenant, name, 0, size)
    path = company.folder / "cloud" / "blobs" / tenant / "blobs" / name[:2] / name
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    gate = BackupGate(company.cloud.blobs, company.cloud.host_of_tenant)
    other = Principal(kind=Kind.NODE, id="nother", tenant=tenant, sites=(f"{tenant}-1",))
    asking = CheckChunks(chunks=[BlobRef(sha256=name, size_bytes=size)])
    assert (await gate.check(other, asking)).damaged == [name]
    assert path.exists(), "a stranger learns nothing, and takes nothing away"

    monkeypatch.setattr(backup, "SAMPLE", read_back)
    if not read_back:
        monkeypatch.setattr(limits, "BACKUP_VERIFY_EVERY_S", 0)
    told = (await back_up(plan)).places["cloud"]
    assert told.code == "backup.chunk" and not path.exists(), told
    told = (await back_up(plan)).places["cloud"]
    assert not told.error and await storage.read(tenant, name, 0, size) == whole


@pytest.mark.long
async def test_the_cloud_keeps_so_many_and_names_nothing_a_node_has_not_sent(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BACKUP_GENERATIONS", 2)
    tenant = await company.tenant("mateus")
    data = await small_node(company, tenant, "kept")
    await key_of(data)
    (data / "voice").mkdir()
    for number in range(3):
        (data / "voice" / "noise.bin").write_bytes(random.Random(number).randbytes(3_000_000))
        code, said = await asked("node", "backup", "--now", "--data", str(data))
        assert code == 0, said
    cloud = await company.host(tenant)
    kept = (await cloud.store.query(Query(collection="backups"))).rows
    parts = (await cloud.store.query(Query(collection="backup_chunks"))).rows
    assert len(kept) == 2 and {row["backup"] for row in parts} == {row["id"] for row in kept}

    gate = BackupGate(company.cloud.blobs, company.cloud.host_of_tenant)
    node = settled.load(data).enrolled.node
    mine = Principal(kind=Kind.NODE, id=node, tenant=tenant, sites=(f"{tenant}-1",))
    other = Principal(kind=Kind.NODE, id="nother", tenant=tenant, sites=(f"{tenant}-1",))
    newest, older = (await gate.of(mine)).backups
    assert newest.taken_ms > older.taken_ms and not (await gate.of(other)).backups
    row = next(row for row in kept if row["manifest"] == newest.manifest.sha256)
    (part,) = [part for part in parts if part["backup"] == row["id"]]
    size = 32 * len(part["chunks"])
    names = BlobRef(sha256=str(row["names"]), size_bytes=size)
    asking = KeepBackup(taken_ms=5, manifest=newest.manifest, names=names)
    with pytest.raises(NotFound):
        await gate.keep(other, asking)
    blob = await company.cloud.blobs.storage.read(tenant, part["chunks"][0], 0, 1_000)
    assert b"kept" not in blob, "it is sealed"
