"""A database copied while another process writes it: each copy is one moment, whole, and no older than
the one before; who writes meanwhile loses nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from beira.node.at_rest import DATABASE_FILE
from beira.node.backup_check import check_database
from beira.node.backup_source import beside, snapshot
from beira.store.sqlite.files import connect, start_log

LOOKS = 12
WRITER = """
import sys, pathlib
from beira.store.sqlite.files import connect, start_log
path, key = pathlib.Path(sys.argv[1]), bytes.fromhex(sys.argv[2]) or None
connection = connect(path, key, writer=True)
start_log(connection, path)
connection.pragma("wal_autocheckpoint", 20)
number = 0
while True:
    number += 1
    with connection:
        connection.execute("UPDATE totals SET number = ?", (number,))
        connection.execute("INSERT INTO notes VALUES (?, hex(randomblob(600)))", (number,))
        if number % 40 == 0:
            connection.execute("DELETE FROM notes WHERE id % 3 = 1")
            connection.execute("UPDATE notes SET said = hex(randomblob(600)) WHERE id % 5 = 0")
    print(number, flush=True)
"""


@pytest.fixture(params=["", "ab" * 32], ids=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> bytes | None:
    return bytes.fromhex(request.param) or None


@pytest.fixture
def data(tmp_path: Path, key: bytes | None) -> Path:
    (tmp_path / "node").mkdir()
    connection = connect(tmp_path / "node" / DATABASE_FILE, key, writer=True)
    start_log(connection, tmp_path / "node" / DATABASE_FILE)
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, said TEXT)")
    connection.execute("CREATE TABLE totals (number INTEGER)")
    connection.execute("INSERT INTO totals VALUES (0)")
    connection.close()
    return tmp_path / "node"


@pytest.fixture
def writer(data: Path, key: bytes | None) -> Iterator[subprocess.Popen[bytes]]:
    program = [sys.executable, "-c", WRITER, str(data / DATABASE_FILE), (key or b"").hex()]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def copied(data: Path, key: bytes | None, to: Path) -> int:
    """Copy the database as it is now; the number it holds, once the copy is found to be whole."""
    to.mkdir()
    with snapshot(data, key) as found:
        assert found is not None
        for file in found.files():
            with (to / file.path).open("wb") as out:
                for piece in file.pieces():
                    out.write(piece)
    check_database(to / DATABASE_FILE, key)
    connection = connect(to / DATABASE_FILE, key, writer=False)
    number = connection.execute("SELECT number FROM totals").get
    newest = connection.execute("SELECT max(id) FROM notes").get
    connection.close()
    deleted = number % 40 == 0 and number % 3 == 1
    assert newest == number or (deleted and newest < number), "half of a transaction"
    return int(number)


def said(writer: subprocess.Popen[bytes]) -> int:
    assert writer.stdout is not None
    return int(writer.stdout.readline())


def test_each_copy_is_one_moment(
    data: Path, key: bytes | None, writer: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    for look in range(LOOKS):
        confirmed = said(writer)
        number = copied(data, key, tmp_path / f"copy{look}")
        assert number >= confirmed, "what was confirmed before is in it"
        while said(writer) < number:
            pass
    assert writer.poll() is None, "who writes was not hindered"


def test_a_power_cut_leaves_a_log_and_it_is_in_the_copy(
    data: Path, key: bytes | None, writer: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    while (confirmed := said(writer)) < 70:
        pass
    writer.kill()
    writer.wait()
    assert copied(data, key, tmp_path / "copy") >= confirmed
    assert copied(data, key, tmp_path / "copy again") >= confirmed, "looking changes nothing"


def test_without_a_database_there_is_nothing_to_copy(tmp_path: Path) -> None:
    with snapshot(tmp_path, None) as found:
        assert found is None


def test_a_wrong_key_is_said(data: Path, key: bytes | None) -> None:
    if key is not None:
        with pytest.raises(Exception, match="key") as caught, snapshot(data, b"x" * 32):
            pass
        assert not isinstance(caught.value, apsw.Error)


def test_files_beside_it_go_too_but_for_what_a_new_machine_gets_anew(tmp_path: Path) -> None:
    for name in (
        "node.db", "node.db-wal", "node.db.lock", "node.key", "node.json", "encryption.json",
        "pseudonym.key", "tls-key.pem", "tls-key.pem.new", "voice/voice.npz", "voice/audio/a.bin",
        "backup/recovery.key", "restore/state", "blobs/t/blobs/ab/abcd", "blobs/t/blobs/ef/efgh",
        "blobs/t/outbox/abcd", "blobs/t/staged/node/x",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = {file.path: b"".join(file.pieces()).decode() for file in beside(tmp_path)}
    assert all(path == content for path, content in found.items())
    assert set(found) == {
        "pseudonym.key", "tls-key.pem", "voice/voice.npz", "voice/audio/a.bin",
        "blobs/t/outbox/abcd", "blobs/t/blobs/ab/abcd",
    }  # fmt: skip
