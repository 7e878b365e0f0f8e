"""The server from the wheel: its data is kept, its door is narrow, it never outlives its program."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.contract.postgres_fixture import postgres_place

from beira.kernel.errors import Misconfigured
from beira.store.postgres import EmbeddedPostgres

CHILD = """
import asyncio, sys
from pathlib import Path
from beira.store.postgres import EmbeddedPostgres

async def main():
    server = await EmbeddedPostgres.start(Path(sys.argv[1]))
    print(server.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    made = postgres_place()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid: int) -> None:
    ends = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < ends, "the server is still there"
        time.sleep(0.02)


async def test_data_is_kept_and_the_address_stays(directory: Path) -> None:
    first = await EmbeddedPostgres.start(directory)
    owner = await asyncpg.connect(first.owner_dsn)
    await owner.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS n")
    settings = {
        name: await owner.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")
    }
    assert settings == {"fsync": "on", "synchronous_commit": "on"}
    await owner.close()
    await first.stop()
    assert first.pid is None
    second = await EmbeddedPostgres.start(directory)
    try:
        assert (second.dsn, second.owner_dsn) == (first.dsn, first.owner_dsn)
        owner = await asyncpg.connect(second.owner_dsn)
        assert await owner.fetchval("SELECT n FROM kept") == 42
        await owner.close()
    finally:
        await second.stop()


async def test_the_door(directory: Path) -> None:
    """No network; the socket and the passwords are ours alone; the program's account is no owner."""
    server = await EmbeddedPostgres.start(directory)
    try:
        assert oct((directory / "socket").stat().st_mode & 0o777) == "0o700"
        assert oct((directory / "passwords.json").stat().st_mode & 0o777) == "0o600"
        assert not (directory / "password.new").exists()
        listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        assert f":{5432:04X} " not in listening
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.owner_dsn.replace("postgres:", "postgres:x"))
    finally:
        await server.stop()


async def test_one_program_at_a_time(directory: Path) -> None:
    server = await EmbeddedPostgres.start(directory)
    try:
        with pytest.raises(Misconfigured) as error:
            await EmbeddedPostgres.start(directory)
        assert error.value.code == "database.in_use"
        assert server.pid is not None
    finally:
        await server.stop()


async def test_the_server_ends_with_a_killed_program(directory: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    pid = int(await asyncio.to_thread(child.stdout.readline))
    assert alive(pid)
    child.kill()
    await asyncio.to_thread(child.wait)
    await asyncio.to_thread(wait_until_gone, pid)
    server = await EmbeddedPostgres.start(directory)
    await server.stop()


async def test_a_server_left_over_is_ended_first(directory: Path) -> None:
    """Where no signal tells the server that its program is gone."""
    left = await EmbeddedPostgres.start(directory)
    pid, process = left.pid, left._process
    assert pid is not None and process is not None
    left._process = None
    await left.stop()  # lets go of the directory, and knows of no server
    assert alive(pid)
    server = await EmbeddedPostgres.start(directory)
    assert server.pid != pid
    process.wait(timeout=30)
    assert not alive(pid)
    await server.stop()


async def test_a_stale_pid_file(directory: Path) -> None:
    """After a power cut its number may be another process's: that one is not to be touched."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    stale = directory / "data" / "postmaster.pid"
    stale.write_text(f"{other.pid}\n{directory / 'data'}\n1\n5432\n{directory / 'socket'}\n\n1 1\n")
    shutil.chown(stale, (directory / "data").stat().st_uid)
    try:
        server = await EmbeddedPostgres.start(directory)
        assert other.poll() is None
        await server.stop()
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()


async def test_a_path_too_long_for_a_socket() -> None:
    top = postgres_place()
    top.chmod(0o711)
    server = await EmbeddedPostgres.start(top / ("x" * 60) / ("ção " * 10) / "y")
    try:
        owner = await asyncpg.connect(server.owner_dsn)
        assert await owner.fetchval("SELECT 1") == 1
        await owner.close()
    finally:
        await server.stop()
        shutil.rmtree(top)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is above its own permissions")
async def test_a_folder_that_only_root_may_enter_is_passed_with_one_capability() -> None:
    top = postgres_place()  # 0700
    server = await EmbeddedPostgres.start(top / "inner")
    try:
        status = Path(f"/proc/{server.pid}/status").read_text()
        kept = int(next(x for x in status.splitlines() if x.startswith("CapEff")).split()[1], 16)
        assert kept in (1 << 1, 1 << 2)
        assert "Uid:\t0" not in status
    finally:
        await server.stop()
        shutil.rmtree(top)


async def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Misconfigured):
        await EmbeddedPostgres.start(tmp_path / "file" / "inner")


async def test_data_of_another_version(directory: Path) -> None:
    version = directory / "data" / "PG_VERSION"
    found = version.read_text()
    version.write_text("9\n")
    with pytest.raises(Misconfigured) as error:
        await EmbeddedPostgres.start(directory)
    assert error.value.code == "database.version"
    version.write_text(found)
