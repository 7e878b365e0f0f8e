"""A node's folder, encrypted: which key opens it, and what is said when one does not."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from beira.host.certificates import self_signed
from beira.host.listen import Listen
from beira.host.serve import tls_context
from beira.identity.node_key import NodeKey
from beira.identity.private_files import PrivateFiles
from beira.kernel.errors import BeiraError, Corrupt, Misconfigured
from beira.node import at_rest
from beira.store.sqlite import alone


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BEIRA_KEY_FROM", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "node").mkdir()
    return tmp_path / "node"


@pytest.fixture
def key_from(tmp_path: Path) -> str:
    return f"file:{tmp_path}/usb/beira.key"


def code_of(error: pytest.ExceptionInfo[BeiraError]) -> str:
    assert error.value.hint
    return error.value.code


def test_without_a_key_nothing_is_encrypted(data: Path) -> None:
    rest = at_rest.begin(data)
    assert not rest.encrypted and rest.database_key(data / "node.db") is None
    rest.files.write(data / "node.json", b"{}")
    assert (data / "node.json").read_bytes() == b"{}" and not (data / at_rest.FILE).exists()


def test_the_folder_remembers_where_its_key_is(data: Path, key_from: str) -> None:
    made = at_rest.begin(data, key_from)
    assert made.encrypted and at_rest.opened(data).data_keys == made.data_keys
    assert at_rest.begin(data).data_keys == made.data_keys
    assert made.data_keys[0].hex() not in repr(made)


def test_the_settings_say_where_the_key_is_now(
    data: Path, key_from: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = at_rest.begin(data, key_from)
    old = Path(key_from.removeprefix("file:"))
    monkeypatch.setenv("KEY", old.read_text())
    old.unlink()
    with pytest.raises(Misconfigured) as caught:
        at_rest.opened(data)
    assert code_of(caught) == "at_rest.key_missing"
    assert at_rest.opened(data, "env:KEY").data_keys == made.data_keys
    monkeypatch.setenv("BEIRA_KEY_FROM", "env:KEY")
    assert at_rest.opened(data).data_keys == made.data_keys


def test_a_services_credential_is_found_and_encrypts_from_the_start(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "beira-node-key").write_text(secrets.token_hex(32))
    assert at_rest.begin(data).encrypted and at_rest.opened(data).encrypted


def test_a_wrong_key_is_no_damage(data: Path, key_from: str, tmp_path: Path) -> None:
    at_rest.begin(data, key_from)
    other = f"file:{tmp_path}/other.key"
    at_rest.source_of(other).fresh()
    with pytest.raises(Misconfigured) as caught:
        at_rest.opened(data, other)
    assert code_of(caught) == "at_rest.key_wrong"


@pytest.mark.parametrize("name", ["node.db", "node.json"])
def test_a_key_for_a_plain_folder_is_refused_with_the_command_that_encrypts_it(
    data: Path, key_from: str, name: str
) -> None:
    (data / name).write_text("{}")
    for opening in (at_rest.opened, at_rest.begin):
        with pytest.raises(Misconfigured) as caught:
            opening(data, key_from)
        assert code_of(caught) == "at_rest.plain"
        assert f"beira node rekey --to {key_from}" in caught.value.hint


def test_a_key_in_the_folder_it_opens_is_refused(data: Path) -> None:
    for place in (data / "k", data / "deep" / ".." / "k"):
        with pytest.raises(Misconfigured) as caught:
            at_rest.begin(data, f"file:{place}")
        assert code_of(caught) == "at_rest.key_beside"
    (data / "node.json").write_text("{}")
    with pytest.raises(Misconfigured) as caught:
        at_rest.rekey(data, f"file:{data}/k")
    assert code_of(caught) == "at_rest.key_beside"


def test_a_link_into_the_folder_is_the_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(Misconfigured):
        at_rest.begin(data, f"file:{tmp_path}/link/k")


@pytest.mark.parametrize("damage", [b"", b"{}", b"nothing", b'{"format": 1}'])
def test_a_damaged_envelope_is_said(data: Path, key_from: str, damage: bytes) -> None:
    at_rest.begin(data, key_from)
    (data / at_rest.FILE).write_bytes(damage)
    with pytest.raises(Corrupt) as caught:
        at_rest.opened(data)
    assert code_of(caught) == "at_rest.file"


def test_an_envelope_of_a_newer_release_is_said(data: Path, key_from: str) -> None:
    at_rest.begin(data, key_from)
    told = json.loads((data / at_rest.FILE).read_text())
    (data / at_rest.FILE).write_text(json.dumps({**told, "format": 2, "unheard": 1}))
    with pytest.raises(Misconfigured) as caught:
        at_rest.opened(data)
    assert code_of(caught) == "store.newer"


def test_a_running_node_is_not_given_new_keys(data: Path, key_from: str) -> None:
    made = at_rest.begin(data, key_from)
    with alone(data / at_rest.DATABASE_FILE), pytest.raises(Misconfigured) as caught:
        at_rest.rekey(data)
    assert code_of(caught) == "store.locked"
    assert at_rest.opened(data).data_keys == made.data_keys


def test_a_plain_folder_is_encrypted_only_to_a_place(data: Path) -> None:
    (data / "node.json").write_text("{}")
    with pytest.raises(Misconfigured) as caught:
        at_rest.rekey(data)
    assert code_of(caught) == "at_rest.key_missing"


def test_a_key_left_by_a_try_to_enrol_is_sealed(data: Path, key_from: str) -> None:
    before = NodeKey.load(data / "node.key")
    rest = at_rest.begin(data, key_from)
    assert NodeKey.load(data / "node.key", rest.files).public_key == before.public_key
    assert rest.files.is_newest((data / "node.key").read_bytes())


class TestFiles:
    def test_each_is_sealed_under_its_own_name(self, tmp_path: Path) -> None:
        files = PrivateFiles((bytes(32),))
        files.write(tmp_path / "a", b"of a")
        assert files.read(tmp_path / "a") == b"of a"
        assert b"of a" not in (tmp_path / "a").read_bytes()
        (tmp_path / "a").rename(tmp_path / "b")
        with pytest.raises(Corrupt) as caught:
            files.read(tmp_path / "b")
        assert code_of(caught) == "private.sealed"

    def test_a_plain_file_is_not_taken_for_a_sealed_one(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"slipped in")
        with pytest.raises(Corrupt) as caught:
            PrivateFiles((bytes(32),)).read(tmp_path / "a")
        assert code_of(caught) == "private.plain"
        moving = PrivateFiles((bytes(32),), plain_too=True)
        assert moving.read(tmp_path / "a") == b"slipped in"

    def test_every_flipped_bit_is_noticed(self, tmp_path: Path) -> None:
        files, path = PrivateFiles((bytes(32),)), tmp_path / "a"
        files.write(path, b"content")
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(Corrupt):
                files.read(path)
        for end in range(len(whole)):
            path.write_bytes(whole[:end])
            with pytest.raises(Corrupt):
                files.read(path)

    def test_names_tell_nothing_without_the_key(self) -> None:
        one, other = PrivateFiles((bytes(32),)), PrivateFiles((bytes(31) + b"1",))
        assert one.name_of("João") == one.name_of("João") != other.name_of("João")
        assert len(one.name_of("x")) == 40

    def test_what_takes_nothing_but_a_path_is_given_one_for_a_moment(self, tmp_path: Path) -> None:
        for files in (PrivateFiles((bytes(32),)), PrivateFiles()):
            files.write(tmp_path / "a", b"content")
            with files.as_file(tmp_path / "a") as path:
                assert path.read_bytes() == b"content"
            assert files.sealed == (path != tmp_path / "a")

    def test_a_certificates_key_is_sealed_and_served(self, tmp_path: Path) -> None:
        files = PrivateFiles((bytes(32),))
        certificate, key = self_signed(tmp_path, files)
        assert b"PRIVATE KEY" not in key.read_bytes()
        assert self_signed(tmp_path, files) == (certificate, key)
        assert tls_context(Listen("127.0.0.1", 0, certificate, key, files)) is not None
        with pytest.raises(Misconfigured):
            tls_context(Listen("127.0.0.1", 0, certificate, key))
