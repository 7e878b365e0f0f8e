"""What a host asks of the program it runs in, where node and cloud differ: to sign what nodes must
believe offline, to verify that, and to ask the cloud; and what one app may offer another unseen.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """An Ed25519 signature, and which of the cloud's keys made it."""

    key_id: str
    signature: bytes


class Signer(Protocol):
    """The cloud's signing keys. Present in the cloud only."""

    def sign(self, data: bytes) -> Signature: ...


class Verifier(Protocol):
    """The cloud's public keys, as known here; on a node those it last heard, network or not."""

    def verify(self, data: bytes, signature: Signature) -> bool: ...


class Line(Protocol):
    """A node's way to ask the cloud what an app answers there. Present on nodes only."""

    async def ask(self, name: str, body: bytes) -> bytes:
        """`name` is `<app>/<answer>`. Raises the cloud's own error, and Unavailable."""
        ...


class Speech(Protocol):
    """A voice, offered by whichever app has one."""

    async def __call__(self, text: str, language: str) -> bytes:
        """A WAV file of the text, spoken. Raises Invalid, TooLarge, Unavailable."""
        ...


def signed_bytes(tenant: str, purpose: str, data: bytes) -> bytes:
    """What is really signed: never what another use of the same keys would sign (a token begins
    otherwise), and never what another tenant's nodes or another purpose would take."""
    parts = [part.encode() for part in (tenant, purpose)]
    named = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return b"\0beira signed 1\0" + named + data
