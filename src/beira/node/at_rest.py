"""A node's folder, encrypted: its database, its own key, who it is, and what apps keep beside it.

Two keys, one inside the other. All data is under *data keys* made at random. They are kept in
`encryption.json`, sealed by the key that the operator keeps elsewhere (`key_source`). So a wrong key
is told from a damaged database, and changing keys has one moment that decides: until that file is
replaced the old key opens everything, from then on the new one does, whenever the power goes.

While a folder is on its way to a new data key (or to its first), both are in the file, and each part
of the folder is read with the one it is under.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from beira.host import certificates
from beira.identity.private_files import PrivateFiles
from beira.kernel.errors import Corrupt, Misconfigured
from beira.node import pseudonyms
from beira.node.key_source import CREDENTIAL, KEY_BYTES, CredentialKey, FileKey, source_of
from beira.store.sqlite import alone, opens, rewrite

log = structlog.get_logger(__name__)
FILE = "encryption.json"
BLOBS_FOLDER, BLOBS_KEY_FILE = "blobs", "blobs.key"
DATABASE_FILE, KEY_FILE, IDENTITY_FILE = "node.db", "node.key", "node.json"
FORMAT = 1
_NONCE_BYTES = 12
_SETTING = "BEIRA_KEY_FROM"


class Envelope(msgspec.Struct, kw_only=True):
    """What `encryption.json` says: nothing in it is secret. `data_keys`, newest first, are each a
    nonce and a key sealed by the operator's, in base64. `moving`: some parts may not be under the
    newest one yet, or not be encrypted at all."""

    format: int
    key_from: str
    data_keys: tuple[str, ...]
    moving: bool = False


@dataclass(frozen=True)
class AtRest:
    """What opens a node's folder. Not encrypted: `data_keys` is empty."""

    files: PrivateFiles
    data_keys: tuple[bytes, ...] = field(default=(), repr=False)
    key_from: str = ""

    @property
    def encrypted(self) -> bool:
        return bool(self.data_keys)

    def database_key(self, path: Path) -> bytes | None:
        """The key the database of `path` is under: for a new one the newest, None if it is plain."""
        keys = [_derived(key, b"beira database 1") for key in self.data_keys]
        if len(keys) < 2 and not (self.encrypted and self.files.plain_too):
            return keys[0] if keys else None
        candidates: list[bytes | None] = [*keys, None]
        return next((key for key in candidates if opens(path, key)), keys[0])


def opened(data: Path, key_from: str = "") -> AtRest:
    """What opens the node in `data`. Its key is where `key_from` says, or BEIRA_KEY_FROM, or among the
    service's credentials, or where it was last.

    Raises: Misconfigured `at_rest.key_missing`, `at_rest.key_wrong`, `at_rest.plain` (a key is given
    and the folder is not encrypted), and what a source raises; Corrupt `at_rest.file`.
    """
    given = key_from or _given()
    envelope = _envelope(data)
    if envelope is None:
        if given and any((data / name).exists() for name in (DATABASE_FILE, IDENTITY_FILE)):
            raise Misconfigured(
                f"A key is set ({given}), and {data} is not encrypted.",
                code="at_rest.plain",
                hint=f"Stop the node and encrypt it: beira node rekey --to {given} --data {data}",
            )
        return AtRest(PrivateFiles())
    return _unsealed(envelope, given or envelope.key_from, data)


def begin(data: Path, key_from: str = "") -> AtRest:
    """For a folder that is about to become a node: encrypted, if a key is given (it is made if there
    is none in a file or keyring). Raises as `opened`, and Misconfigured `at_rest.key_beside`."""
    given = key_from or _given()
    there = (FILE, DATABASE_FILE, IDENTITY_FILE)
    if not given or any((data / name).exists() for name in there):
        return opened(data, key_from)
    key = _key_at(given, data)
    made = _at_rest((os.urandom(KEY_BYTES),), given)
    _save(data, _sealed(made.data_keys, key, given))
    own = data / KEY_FILE
    if own.exists():  # of a try to enrol that failed
        made.files.write(own, own.read_bytes(), durable=True)
    return made


def adopt(
    data: Path, data_keys: tuple[bytes, ...], key_from: str, *, moving: bool = False
) -> AtRest:
    """For a folder whose files come from a backup and are under `data_keys`: from now on the key at
    `key_from` opens it (made if there is none in a file or keyring). Not encrypted without any.

    Raises: Misconfigured `at_rest.…`.
    """
    if not data_keys:
        return AtRest(PrivateFiles())
    if not key_from:
        raise Misconfigured(
            "This node was encrypted, and no place for the key that opens it is given.",
            code="at_rest.key_missing",
            hint="Say where the key is to be on this machine: --key-from file:/media/key/beira.key",
        )
    _save(data, _sealed(data_keys, _key_at(key_from, data), key_from, moving))
    return _at_rest(data_keys, key_from, moving=moving)


def keyed(data_keys: tuple[bytes, ...], *, moving: bool = False) -> AtRest:
    """What opens files under these data keys, wherever they lie; plain ones without any."""
    return _at_rest(data_keys, "", moving=moving) if data_keys else AtRest(PrivateFiles())


def rekey(data: Path, to: str = "", key_from: str = "") -> str:
    """Put all of a stopped node under fresh keys: the data's, and the operator's: the one at `to`, or
    a fresh one where it is now. Encrypts a folder that was not. Returns where the key is.

    Killed at any moment, the node opens with the old key or the new one; run it again to finish.
    Raises: Misconfigured `store.locked` while the node runs, and as `opened`; Full.
    """
    with alone(data / DATABASE_FILE):
        envelope = _envelope(data)
        if envelope is None:
            return _first(data, to or key_from or _given())
        return _anew(data, envelope, to, key_from or _given() or envelope.key_from)


def _first(data: Path, to: str) -> str:
    if not to:
        raise Misconfigured(
            f"{data} is not encrypted, and no place for a key is given.",
            code="at_rest.key_missing",
            hint=f"Say where: beira node rekey --to file:/media/key/beira.key --data {data}",
        )
    key = _key_at(to, data)
    keys = (os.urandom(KEY_BYTES),)
    _save(data, _sealed(keys, key, to, moving=True))
    _move(data, keys)
    _save(data, _sealed(keys, key, to))
    return to


def _anew(data: Path, envelope: Envelope, to: str, key_from: str) -> str:
    now = _unsealed(envelope, key_from, data)
    old_key = _opening_key(envelope, key_from, data)
    source = source_of(key_from)
    source.settle(old_key)  # if a change was cut short after it had been decided
    elsewhere = to not in ("", key_from)
    new_key = _key_at(to, data) if elsewhere else source.fresh()
    keys = now.data_keys if envelope.moving else (os.urandom(KEY_BYTES), *now.data_keys)
    _save(data, _sealed(keys, old_key, key_from, moving=True))
    _move(data, keys)
    _save(data, _sealed(keys[:1], new_key, to if elsewhere else key_from))
    if not elsewhere:
        source.settle(new_key)
    return to if elsewhere else key_from


def finding(data: Path) -> tuple[bool, str, str]:
    """For `beira node doctor`: whether all is well, what is so, and the next step."""
    envelope = _envelope(data)
    if envelope is None:
        step = (
            "beira node rekey --to SOURCE encrypts it: docs/howto/encryption.md says which source."
        )
        return True, f"not encrypted: whoever takes the disk can read it. {step}", ""
    source = _given() or envelope.key_from
    if envelope.moving:
        step = f"Stop the node and finish it: beira node rekey --data {data}"
        return False, "a change of keys was cut short; all can be read", step
    where = source_of(source)
    if isinstance(where, FileKey) and _same_disk(where.path, data):
        what = f"AES-256; the key ({source}) is on the same disk: a thief has both"
        return False, what, "Keep the key elsewhere: docs/howto/encryption.md, then rekey --to."
    return True, f"AES-256; the key is at {source}", ""


def _given() -> str:
    """Where the operator's settings say the key is; nothing, if they do not."""
    if setting := os.environ.get(_SETTING, ""):
        return setting
    credential = f"credential:{CREDENTIAL}"
    return credential if any(CredentialKey(CREDENTIAL, os.environ).candidates()) else ""


def _envelope(data: Path) -> Envelope | None:
    path = data / FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Envelope)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise Misconfigured(
            f"{path} cannot be read.", code="store.denied", hint="Run as the user who owns it."
        ) from None
    except NotADirectoryError:
        raise Misconfigured(f"{data} is no folder.", hint="Choose another with --data.") from None
    except msgspec.MsgspecError as error:
        raise _damaged(path, str(error)) from None
    if found.format > FORMAT:
        raise Misconfigured(
            f"{path} was written by a newer Beira.", code="store.newer", hint="Update this node."
        )
    return found


def _damaged(path: Path, why: str) -> Corrupt:
    return Corrupt(
        f"{path} is damaged: {why}.",
        code="at_rest.file",
        hint="Put back that file from any backup made since the last change of keys: without it "
        "nothing here can be opened.",
    )


def _unsealed(envelope: Envelope, key_from: str, data: Path) -> AtRest:
    key = _opening_key(envelope, key_from, data)
    keys = _data_keys(envelope, key, data)
    assert keys is not None
    return _at_rest(keys, key_from, moving=envelope.moving)


def _at_rest(keys: tuple[bytes, ...], key_from: str, *, moving: bool = False) -> AtRest:
    of_files = tuple(_derived(key, b"beira files 1") for key in keys)
    return AtRest(PrivateFiles(of_files, plain_too=moving), keys, key_from)


def _opening_key(envelope: Envelope, key_from: str, data: Path) -> bytes:
    """The operator's key that opens the envelope, of those at `key_from`."""
    found = list(source_of(key_from).candidates())
    for key in found:
        if _data_keys(envelope, key, data) is not None:
            return key
    if found:
        raise Misconfigured(
            f"The key at {key_from} is not the one that {data} was encrypted with.",
            code="at_rest.key_wrong",
            hint="Give the right one with --key-from; the data is untouched.",
        )
    raise Misconfigured(
        f"{data} is encrypted, and there is no key at {key_from}.",
        code="at_rest.key_missing",
        hint="Mount or restore it, or say with --key-from where it is now; the data is untouched.",
    )


def _data_keys(envelope: Envelope, key: bytes, data: Path) -> tuple[bytes, ...] | None:
    """The data keys, or None if `key` does not open them."""
    cipher = AESGCM(_derived(key, b"beira envelope 1"))
    try:
        sealed = [base64.b64decode(text, validate=True) for text in envelope.data_keys]
    except binascii.Error as error:
        raise _damaged(data / FILE, str(error)) from None
    if not sealed:
        raise _damaged(data / FILE, "it holds no key")
    try:
        return tuple(cipher.decrypt(s[:_NONCE_BYTES], s[_NONCE_BYTES:], None) for s in sealed)
    except (InvalidTag, ValueError):
        return None


def _sealed(keys: tuple[bytes, ...], key: bytes, key_from: str, moving: bool = False) -> Envelope:
    cipher = AESGCM(_derived(key, b"beira envelope 1"))
    texts = []
    for data_key in keys:
        nonce = os.urandom(_NONCE_BYTES)
        texts.append(base64.b64encode(nonce + cipher.encrypt(nonce, data_key, None)).decode())
    return Envelope(format=FORMAT, key_from=key_from, data_keys=tuple(texts), moving=moving)


def _save(data: Path, envelope: Envelope) -> None:
    content = msgspec.json.format(msgspec.json.encode(envelope), indent=2)
    PrivateFiles().write(data / FILE, content + b"\n", durable=True)


def _key_at(where: str, data: Path) -> bytes:
    """The key at `where`; a fresh one where there is none and one can be put."""
    _check_place(where, data)
    source = source_of(where)
    return next(iter(source.candidates()), None) or source.fresh()


def _check_place(where: str, data: Path) -> None:
    source = source_of(where)
    if isinstance(source, FileKey) and source.path.resolve().is_relative_to(data.resolve()):
        raise Misconfigured(
            f"The key {source.path} would lie in the folder that it opens.",
            code="at_rest.key_beside",
            hint="Whoever takes the folder would have both: choose a place on another disk.",
        )


def _move(data: Path, keys: tuple[bytes, ...]) -> None:
    """Put every part of the folder under the first of `keys`. What is there already stays."""
    rest = _at_rest(keys, "", moving=True)
    path = data / DATABASE_FILE
    wanted = _derived(keys[0], b"beira database 1")
    present = rest.database_key(path)
    if present != wanted:
        rewrite(path, present, wanted)
    newest = _at_rest(keys[:1], "").files
    for file in _private(data):
        content = file.read_bytes()
        if newest.is_newest(content):
            continue
        try:
            newest.write(file, rest.files.opened(content, file), durable=True)
        except Corrupt:
            if file.parent == data:
                raise
            log.warning(
                "at_rest.unreadable", file=str(file)
            )  # an app's, and no reason to stay here


def _private(data: Path) -> Iterator[Path]:
    """The files that are read through `PrivateFiles`: the node's own, and all in its apps' folders."""
    own = (KEY_FILE, IDENTITY_FILE, BLOBS_KEY_FILE, pseudonyms.FILE, certificates.KEY_FILE)
    for name in own:
        if (data / name).exists():
            yield data / name
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        if (
            folder.name == BLOBS_FOLDER
        ):  # under a key of their own, which is kept as these files are
            continue
        for path in sorted(folder.rglob("*")):
            if path.suffix == ".new":  # half written
                path.unlink(missing_ok=True)
            elif path.is_file() and not path.is_symlink():
                yield path


def _same_disk(path: Path, data: Path) -> bool:
    try:
        return path.stat().st_dev == data.stat().st_dev
    except OSError:
        return False


def _derived(key: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)
