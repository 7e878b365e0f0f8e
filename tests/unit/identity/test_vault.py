"""Keys, sealed secrets, passwords, codes, key files."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.identity import vault
from beira.identity.guard import network_of
from beira.identity.node_key import NodeKey
from beira.kernel.errors import BeiraError, Corrupt, Invalid, Misconfigured


@given(st.binary(max_size=200), st.text(max_size=20), st.text(max_size=20))
def test_what_is_sealed_opens_for_its_purpose_only(secret: bytes, purpose: str, other: str) -> None:
    key = vault.ServerKey(bytes(32))
    sealed = key.seal(secret, purpose)
    assert key.unseal(sealed, purpose) == secret
    assert secret not in sealed or len(secret) < 4
    if other != purpose:
        with pytest.raises(Corrupt):
            key.unseal(sealed, other)
    with pytest.raises(Corrupt):
        vault.ServerKey(b"x" * 32).unseal(sealed, purpose)


def test_macs_keep_their_parts_apart() -> None:
    key = vault.ServerKey(bytes(32))
    assert key.mac("p", "ab", "c") != key.mac("p", "a", "bc") != key.mac("pa", "bc")


def test_the_servers_key_from_the_environment_or_a_file(tmp_path: Path) -> None:
    text = base64.b64encode(b"k" * 32).decode()
    given_key = vault.server_key(tmp_path, {"BEIRA_SECRET_KEY": text})
    assert given_key.mac("x") == vault.ServerKey(b"k" * 32).mac("x")
    assert not list(tmp_path.iterdir())
    made = vault.server_key(tmp_path / "data", {})
    again = vault.server_key(tmp_path / "data", {})
    assert made.mac("x") == again.mac("x")
    mode = (tmp_path / "data" / "secret.key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize("text", ["short", "%%%", base64.b64encode(b"k" * 16).decode()])
def test_a_bad_key_is_refused_with_the_way_out(tmp_path: Path, text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        vault.server_key(tmp_path, {"BEIRA_SECRET_KEY": text})
    assert "openssl" in caught.value.hint and text not in str(caught.value)


def test_a_key_file_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    NodeKey.load(path)
    path.chmod(0o640)
    with pytest.raises(Misconfigured) as caught:
        NodeKey.load(path)
    assert caught.value.code == "identity.key_exposed"


def test_a_damaged_key_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(b"half")
    path.chmod(0o600)
    with pytest.raises(Misconfigured):
        NodeKey.load(path)


def test_starters_that_race_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = [tmp_path / "node.key"] * 16
        keys = {key.public_key for key in pool.map(NodeKey.load, paths)}
    assert len(keys) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["node.key"]


def test_a_renewed_key_is_another_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    old = NodeKey.load(path)
    new = NodeKey.renew(path)
    assert old.public_key != new.public_key == NodeKey.load(path).public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured) as caught:
        NodeKey.load(tmp_path / "file" / "node.key")
    assert caught.value.hint


async def test_passwords() -> None:
    passwords = vault.Passwords()
    stored = await passwords.hash("correct horse")
    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify(stored, "correct horsf")
    assert not await passwords.verify(None, "correct horse")
    assert not await passwords.verify("not a hash", "correct horse")
    assert not passwords.outdated(stored)
    assert passwords.outdated("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$YWFhYWFhYWFhYWFhYWFhYQ")


async def test_a_flood_of_sign_ins_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(vault, "HASHES_WAITING", 2)
    passwords = vault.Passwords()
    asked = [passwords.verify(None, f"password {n}") for n in range(6)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [getattr(a, "code", a) for a in answers] == [False, False] + ["auth.busy"] * 4


def test_a_password_is_the_same_from_every_keyboard() -> None:
    assert vault.checked_password("a\u0301gua de coco") == vault.checked_password("água de coco")
    for weak in ("short", "aaaaaaaaaaaa", "ababababab"):
        with pytest.raises(Invalid):
            vault.checked_password(weak)
    with pytest.raises(Invalid):
        vault.canonical_password("x" * 257)


@given(st.integers(5, 30))
def test_codes_are_read_back_however_typed(chars: int) -> None:
    code = vault.new_code(chars)
    plain = code.replace("-", "")
    assert len(plain) == chars and set(plain) <= set(vault.CODE_ALPHABET)
    spoken = " ".join(code.lower()) + "\n"
    assert vault.split_code(spoken) == (plain[:4], plain[4:])
    assert not set("0O1IL2Z5S8BU") & set(plain)


@given(st.text(max_size=300))
def test_any_text_as_code_or_email_is_safe(text: str) -> None:
    selector, secret = vault.split_code(text)
    assert len(selector) <= 4 and len(secret) <= 400
    try:
        email = vault.email_of(text)
    except BeiraError as error:
        assert error.code == "auth.email_invalid"
    else:
        assert vault.email_of(email) == email, "one form"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_what_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network


def test_a_node_key_does_not_print(tmp_path: Path) -> None:
    private = os.urandom(32)
    key = NodeKey(private)
    assert private.hex() not in repr(key) and len(repr(key)) < 40
