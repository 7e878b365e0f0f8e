"""Where the key of an encrypted node comes from, and how a fresh one takes its place."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from beira.kernel.errors import Misconfigured
from beira.node.key_source import KeySource, source_of


class Keyring:
    """A keyring that works as the operating system's, in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, name: str) -> str | None:
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, password: str) -> None:
        self.kept[service, name] = password

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    made = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", made)
    return made


def refused(text: str, **environ: str) -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        found = list(source_of(text, environ).candidates())
        raise AssertionError(found)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("kind", ["file", "keyring"])
def test_a_fresh_key_lies_beside_the_old_one_until_it_takes_its_place(
    tmp_path: Path, keyring: Keyring, kind: str
) -> None:
    text = f"file:{tmp_path}/keys/node.key" if kind == "file" else "keyring:beira/balcao"

    def source() -> KeySource:
        return source_of(text)

    assert list(source().candidates()) == []
    first = source().fresh()
    assert list(source().candidates()) == [first] and len(first) == 32
    second = source().fresh()
    assert list(source().candidates()) == [first, second] and first != second
    source().settle(first)
    assert list(source().candidates()) == [first, second]
    source().settle(second)
    assert list(source().candidates()) == [second, first]
    third = source().fresh()
    source().settle(third)
    assert list(source().candidates()) == [third, second]


def test_a_key_file_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    source_of(f"file:{path}").fresh()
    assert path.stat().st_mode & 0o077 == 0
    path.chmod(0o644)
    assert refused(f"file:{path}").code == "at_rest.key_exposed"


def test_what_an_operator_made_is_taken(tmp_path: Path) -> None:
    text = "00112233445566778899aabbccddeeff" * 2
    key = bytes.fromhex(text)
    (tmp_path / "k").write_text(f"  {text.upper()}\n")
    (tmp_path / "k").chmod(0o600)
    assert next(source_of(f"file:{tmp_path}/k").candidates()) == key
    assert next(source_of("env:K", {"K": text}).candidates()) == key
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert next(source_of("credential:k", given).candidates()) == key


def test_what_can_only_be_read_is_not_written(tmp_path: Path) -> None:
    text = "ab" * 32
    assert source_of("env:K", {"K": text}).fresh() == bytes.fromhex(text)
    with pytest.raises(Misconfigured) as caught:
        source_of("env:K", {}).fresh()
    assert caught.value.code == "at_rest.key_missing" and "openssl" in caught.value.hint


@pytest.mark.parametrize("text", ["", "file:", "secret", "keyring:beira", "vault:x", "env:"])
def test_a_place_that_is_none_is_said(text: str) -> None:
    assert refused(text).code == "at_rest.source"


@pytest.mark.parametrize("text", ["", "xyz", "ab" * 31, "ab" * 33])
def test_what_is_no_key_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text)
    (tmp_path / "k").chmod(0o600)
    assert refused(f"file:{tmp_path}/k").code == "at_rest.key_invalid"


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert refused(f"file:{tmp_path}").code == "at_rest.key_file"


def test_a_key_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured) as caught:
        source_of(f"file:{tmp_path}/file/node.key").fresh()
    assert caught.value.code == "at_rest.key_file"


def test_without_the_package_the_keyring_is_asked_for_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    error = refused("keyring:beira/balcao")
    assert error.code == "extra.missing" and "beira[keyring]" in error.hint


def test_a_keyring_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(service: str, name: str) -> str:
        raise RuntimeError("locked")

    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=locked))
    assert refused("keyring:beira/balcao").code == "at_rest.keyring"
