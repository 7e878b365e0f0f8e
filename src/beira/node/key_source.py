"""Where the key comes from that opens an encrypted node: never from the folder it opens.

A source is written `file:PATH`, `env:NAME`, `keyring:SERVICE/NAME` or `credential:NAME` (what systemd
hands to a service). A key is 32 random bytes, written as 64 hexadecimal digits.

A file and a keyring can be given a fresh key, which first lies beside the old one, under the same name
with `.next`: only when all is under it does it take the old one's place, which becomes `.old`, since
backups made before need it still. So at any moment one of them opens the node, and all are tried.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from beira.identity.private_files import PrivateFiles
from beira.identity.vault import sync_folder
from beira.kernel.errors import Misconfigured

KEY_BYTES = 32
CREDENTIAL = "beira-node-key"
FRESH, OLD = ".next", ".old"
HOW = (
    "Give it as file:PATH, env:NAME, keyring:SERVICE/NAME or credential:NAME "
    "(see docs/howto/encryption.md)."
)


class KeySource(Protocol):
    """One place where a key is kept. Errors are Misconfigured `at_rest.…`."""

    def candidates(self) -> Iterator[bytes]:
        """The key, then a fresh one if a change was cut short, then an old one. May be none."""
        ...

    def fresh(self) -> bytes:
        """A new random key, kept beside the present one, or in its place if there is none. Where the
        operator alone can write, the key that is there."""
        ...

    def settle(self, key: bytes) -> None:
        """If `key` is the fresh one: it takes the old one's place."""
        ...


def source_of(text: str, environ: Mapping[str, str] | None = None) -> KeySource:
    """The source that `text` names. Raises Misconfigured `at_rest.source`."""
    environ = os.environ if environ is None else environ
    kind, _, where = text.partition(":")
    if where:
        if kind == "file":
            return FileKey(Path(where).expanduser().absolute())
        if kind == "env":
            return EnvironmentKey(where, environ)
        if kind == "keyring" and all(where.rpartition("/")):
            return KeyringKey(where)
        if kind == "credential":
            return CredentialKey(where, environ)
    raise Misconfigured(f"{text!r} is no place for a key.", code="at_rest.source", hint=HOW)


class FileKey:
    """A file of mode 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"file:{self.path}"

    def candidates(self) -> Iterator[bytes]:
        for path in (self.path, self._beside(FRESH), self._beside(OLD)):
            if path.exists():
                yield _from_text(_read(path, private=True), str(path))

    def fresh(self) -> bytes:
        key = secrets.token_bytes(KEY_BYTES)
        path = self._beside(FRESH) if self.path.exists() else self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            PrivateFiles().write(path, key.hex().encode() + b"\n", durable=True)
        except OSError as error:
            raise Misconfigured(
                f"The key file {path} cannot be written: {error.strerror}.",
                code="at_rest.key_file",
                hint="Run as who may write there, or choose another place for the key.",
            ) from None
        return key

    def settle(self, key: bytes) -> None:
        fresh = self._beside(FRESH)
        if fresh.exists() and _from_text(_read(fresh, private=True), str(fresh)) == key:
            if self.path.exists():
                self.path.replace(self._beside(OLD))
            fresh.replace(self.path)
            sync_folder(self.path.parent)

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)


class EnvironmentKey:
    """A variable of the environment."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self._name, self._environ = name, environ

    def __str__(self) -> str:
        return f"env:{self._name}"

    def candidates(self) -> Iterator[bytes]:
        if text := self._environ.get(self._name, ""):
            yield _from_text(text, f"the variable {self._name}")

    def fresh(self) -> bytes:
        return _given(self)

    def settle(self, key: bytes) -> None:
        pass


class CredentialKey:
    """A credential of the service: systemd reads or decrypts it, and shows it to this process only."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        folder = environ.get("CREDENTIALS_DIRECTORY", "")
        self._name, self._path = name, Path(folder) / name if folder else None

    def __str__(self) -> str:
        return f"credential:{self._name}"

    def candidates(self) -> Iterator[bytes]:
        if self._path is not None and self._path.exists():
            yield _from_text(_read(self._path, private=False), f"the credential {self._name}")

    def fresh(self) -> bytes:
        return _given(self)

    def settle(self, key: bytes) -> None:
        pass


class KeyringKey:
    """The keyring of the operating system, by the package `keyring`."""

    def __init__(self, where: str) -> None:
        self._service, _, self._name = where.rpartition("/")

    def __str__(self) -> str:
        return f"keyring:{self._service}/{self._name}"

    def candidates(self) -> Iterator[bytes]:
        for name in (self._name, self._name + FRESH, self._name + OLD):
            text = self._asked("get_password", name)
            if text:
                yield _from_text(str(text), f"the keyring's {self._service}/{name}")

    def fresh(self) -> bytes:
        key = secrets.token_bytes(KEY_BYTES)
        there = self._asked("get_password", self._name)
        self._asked("set_password", self._name + FRESH if there else self._name, key.hex())
        return key

    def settle(self, key: bytes) -> None:
        fresh = self._asked("get_password", self._name + FRESH)
        if fresh == key.hex():
            self._asked("set_password", self._name + OLD, self._asked("get_password", self._name))
            self._asked("set_password", self._name, fresh)
            self._asked("delete_password", self._name + FRESH)

    def _asked(self, what: str, *values: Any) -> Any:
        try:
            keyring = import_module("keyring")
        except ModuleNotFoundError:
            raise Misconfigured(
                "The key is in the keyring, and the package that reads it is not installed.",
                code="extra.missing",
                hint="Install it: pip install 'beira[keyring]'.",
            ) from None
        try:
            return getattr(keyring, what)(self._service, *values)
        except Exception as error:  # each keyring has errors of its own
            raise Misconfigured(
                f"The keyring does not answer: {error}.",
                code="at_rest.keyring",
                hint="Unlock it for this user; a machine without a desktop often has none: use a file "
                "or a credential.",
            ) from error


def _given(source: EnvironmentKey | CredentialKey) -> bytes:
    """What the operator put there: these sources can only be read."""
    for key in source.candidates():
        return key
    raise Misconfigured(
        f"There is no key in {source}.",
        code="at_rest.key_missing",
        hint="Put one there first: openssl rand -hex 32.",
    )


def _read(path: Path, *, private: bool) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise Misconfigured(
            f"The key file {path} cannot be read: {error.strerror}.",
            code="at_rest.key_file",
            hint="Run as the user who owns it, or mount the disk it is on.",
        ) from None
    if private and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Misconfigured(
            f"Others may read the key file {path} (mode {stat.S_IMODE(mode):o}).",
            code="at_rest.key_exposed",
            hint=f"chmod 600 {path}; if others may have read it, change it: beira node rekey.",
        )
    return text


def _from_text(text: str, where: str) -> bytes:
    with contextlib.suppress(ValueError):
        key = bytes.fromhex(text.strip())
        if len(key) == KEY_BYTES:
            return key
    raise Misconfigured(
        f"What is in {where} is no key.",
        code="at_rest.key_invalid",
        hint="A key is 64 hexadecimal digits: openssl rand -hex 32.",
    )
