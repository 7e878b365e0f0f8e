"""The secrets identity works with: the server's key, passwords, one-time codes, files of mode 0600.

The server's key never enters the database. From it come one key to seal what PostgreSQL keeps
(AES-256-GCM) and one for MACs (HMAC-SHA-256). Codes are kept as MACs and not as plain hashes
because they are short: whoever read a SHA-256 of one would find it by trial in minutes.

Passwords: argon2id with 19 MiB, 2 passes, 1 lane: the smallest memory that OWASP recommends, so that
a node of 1 GB can verify two at once beside its work. It took 40 to 70 ms on a busy 2-core server; a
Raspberry Pi 4 was not at hand and may take several times that. One profile serves cloud and node.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from beira.kernel import limits
from beira.kernel.errors import Corrupt, Invalid, Misconfigured, TooMany

T = TypeVar("T")
KEY_BYTES = 32
HASHES_WAITING = limits.HASHES_WAITING
CODE_ALPHABET = "34679ACDEFGHJKMNPQRTVWXY"
"""No 0 O, 1 I L, 2 Z, 5 S, 8 B, U: what people mistake for another when they read or hear it."""
SELECTOR_CHARS = 4
_SERVER_COPIED = (
    "If somebody may have copied it: it opens what copies of the database hold sealed, so see who "
    "has those too. With another key this database does not start."
)
_NODE_COPIED = (
    "If somebody may have copied it, let this node in with a new one: beira node enrol --again, "
    "with a code made for it in the portal."
)

_hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, hash_len=32)


class ServerKey:
    """The key that only the cloud's programs hold: seals, opens and authenticates. Never shown."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise Misconfigured(
                f"The server's key has {len(key)} bytes, not {KEY_BYTES}.",
                code="identity.key_invalid",
                hint="Set BEIRA_SECRET_KEY to 32 random bytes in base64 (openssl rand -base64 32).",
            )
        self._aead = AESGCM(_derived(key, b"beira seal 1"))
        self._mac_key = _derived(key, b"beira mac 1")

    def __repr__(self) -> str:
        return "ServerKey(…)"

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """`secret` encrypted; it opens only for the same `purpose`, so rows cannot be swapped."""
        nonce = os.urandom(12)
        return nonce + self._aead.encrypt(nonce, secret, purpose.encode())

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """Raises Corrupt when it was sealed by another key or for another purpose."""
        try:
            return self._aead.decrypt(sealed[:12], sealed[12:], purpose.encode())
        except InvalidTag:
            raise Corrupt(
                "A stored secret does not open with this server's key.",
                code="identity.key_wrong",
                hint="Start with the BEIRA_SECRET_KEY (or key file) this database was made with.",
            ) from None

    def mac(self, purpose: str, *parts: str | bytes) -> bytes:
        """32 bytes that only holders of the key can make from `parts`."""
        made = hmac.new(self._mac_key, digestmod=hashlib.sha256)
        for part in (purpose, *parts):
            raw = part.encode() if isinstance(part, str) else part
            made.update(len(raw).to_bytes(4, "big") + raw)
        return made.digest()


def server_key(folder: Path, environ: Mapping[str, str] | None = None) -> ServerKey:
    """From BEIRA_SECRET_KEY (32 bytes in base64), or `folder/secret.key`, made on first run.

    Replicas must share it. Raises Misconfigured for a bad key or a file others can read.
    """
    given = (os.environ if environ is None else environ).get("BEIRA_SECRET_KEY", "")
    if not given:
        return ServerKey(private_file(folder / "secret.key", KEY_BYTES, copied=_SERVER_COPIED))
    try:
        return ServerKey(base64.b64decode(given, validate=True))
    except binascii.Error:
        raise Misconfigured(
            "BEIRA_SECRET_KEY is not base64.",
            code="identity.key_invalid",
            hint="Make one with: openssl rand -base64 32.",
        ) from None


def private_file(path: Path, size_bytes: int, *, copied: str = _NODE_COPIED) -> bytes:
    """The secret in the file `path`, made at random (mode 0600) if there is none.

    Raises Misconfigured when others may read it, or it has another size; `copied` is what to do if
    somebody did read it, for a new key is no cure for every secret.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _create(path, secrets.token_bytes(size_bytes))
    except OSError as error:
        if not path.exists():  # if it is there, another starter was first
            raise Misconfigured(
                f"The key file {path} cannot be written: {error.strerror}.",
                code="identity.key_file",
                hint="Give the program a data folder it may write to.",
            ) from error
    return _read_private(path, size_bytes, copied)


def _create(path: Path, secret: bytes) -> None:
    """Complete or absent: written beside, synced, then linked, so that two starters agree."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
    finally:
        beside.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make durable which files are in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_private(path: Path, size_bytes: int, copied: str) -> bytes:
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Misconfigured(
            f"Others may read the key file {path} (mode {stat.S_IMODE(mode):o}).",
            code="identity.key_exposed",
            hint=f"chmod 600 {path}, and start again; keep the key. {copied}",
        )
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise Misconfigured(
            f"The key file {path} cannot be read: {error.strerror}.",
            code="identity.key_file",
            hint="Run as the user who owns it, or give it to this one (chown).",
        ) from error
    if len(secret) != size_bytes:
        raise Misconfigured(
            f"The key file {path} has {len(secret)} bytes, not {size_bytes}.",
            code="identity.key_invalid",
            hint=f"Restore {path.name} from a backup; do not make another in its place.",
        )
    return secret


def _derived(key: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(key)


# Passwords


class Passwords:
    """Argon2id off the event loop, a few at a time: a flood of sign-ins must not take all memory."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(limits.HASHES_AT_ONCE)
        self._waiting = 0
        self._nobodys = ""

    async def hash(self, password: str) -> str:
        return await self._run(_hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one `stored` was made from. Without `stored` (nobody by that
        name) it takes just as long and answers False; the very first time twice as long, for both."""
        if not self._nobodys:
            self._nobodys = await self.hash(secrets.token_hex(16))
        right = await self._run(_verify, stored or self._nobodys, password)
        return right and stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than today's."""
        return _hasher.check_needs_rehash(stored)

    async def _run(self, work: Callable[..., T], *args: str) -> T:
        if self._waiting >= HASHES_WAITING:
            raise TooMany(
                "Too many people are signing in at once.", retry_after_s=5, code="auth.busy"
            )
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(work, *args)
        finally:
            self._waiting -= 1


def _verify(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def checked_password(password: str) -> str:
    """A new password in the form that is hashed (NFKC, so that every keyboard gives the same).

    Raises Invalid `auth.password_weak`.
    """
    password = canonical_password(password)
    if len(password) < limits.PASSWORD_CHARS_LEAST or len(set(password)) < 4:
        raise Invalid(
            "The password is too easy to guess.",
            code="auth.password_weak",
            hint=f"Use {limits.PASSWORD_CHARS_LEAST} characters or more; a few words do well.",
        )
    return password


def canonical_password(password: str) -> str:
    """Raises Invalid for one so long that hashing it would be an attack."""
    if len(password) > limits.PASSWORD_CHARS_MOST:
        raise Invalid(
            "The password is too long.",
            code="auth.password_long",
            hint=f"At most {limits.PASSWORD_CHARS_MOST} characters.",
        )
    return unicodedata.normalize("NFKC", password)


def email_of(text: str) -> str:
    """An e-mail address in the one form that is kept: trimmed, NFKC, case folded.

    Raises Invalid `auth.email_invalid`.
    """
    email = unicodedata.normalize("NFKC", text[: limits.EMAIL_CHARS * 2]).strip().casefold()
    name, at, domain = email.rpartition("@")
    odd = any(c.isspace() or not c.isprintable() for c in email)
    if not (name and at and domain) or odd or len(email) > limits.EMAIL_CHARS:
        raise Invalid(
            "That is not an e-mail address.",
            code="auth.email_invalid",
            hint="Write it like maria@example.com.",
        )
    return email


# One-time codes


def new_code(chars: int) -> str:
    """A code people can read out, such as `7KQX-M4RTCA`: four that find it, the rest secret."""
    text = "".join(secrets.choice(CODE_ALPHABET) for _ in range(chars))
    return f"{text[:SELECTOR_CHARS]}-{text[SELECTOR_CHARS:]}"


def code_of(text: str) -> str:
    """What somebody typed, as the code was made: upper case, without spaces and dashes."""
    return "".join(c for c in text[:200].upper() if c.isalnum())


def split_code(text: str) -> tuple[str, str]:
    """The selector and the secret of a code as typed; whatever was typed gives two strings."""
    code = code_of(text)
    return code[:SELECTOR_CHARS], code[SELECTOR_CHARS:]


def same(left: bytes | str, right: bytes | str) -> bool:
    """Equality that takes as long whatever differs."""
    a = left.encode() if isinstance(left, str) else left
    b = right.encode() if isinstance(right, str) else right
    return hmac.compare_digest(a, b)


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Raises Invalid when it is not."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True)
    except (ValueError, UnicodeError):
        raise Invalid(
            "Not base64url.",
            code="identity.encoding",
            hint="Use letters, digits, - and _ without padding.",
        ) from None
