"""A question about the manifest and its answer, as they travel: MessagePack, compressed by zstd.

Both sides refuse what is larger unpacked than a manifest can be.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
import zstandard

from beira.apps.player.manifest import Head, SignedHead
from beira.sdk import Corrupt, Host, Signature

ASKED = "player/manifest"
"""The name of the cloud's answer."""
PURPOSE = "player.manifest"
"""What heads are signed for."""
UNPACKED_BYTES = 134_217_728
LEVEL = 6
T = TypeVar("T", bound=msgspec.Struct)


def packed(message: msgspec.Struct) -> bytes:
    """A Question or an Answer as bytes."""
    return zstandard.compress(msgspec.msgpack.encode(message), LEVEL)


def unpacked(data: bytes, kind: type[T], most_bytes: int = UNPACKED_BYTES) -> T:
    """The message of these bytes. Raises Corrupt `player.wire`."""
    try:
        told = zstandard.get_frame_parameters(data).content_size
        if not 0 < told <= most_bytes:
            raise Corrupt("A message of the player is too large.", code="player.wire")
        return msgspec.msgpack.decode(zstandard.decompress(data), type=kind)
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise Corrupt(
            f"A message of the player is not understood: {error}.", code="player.wire"
        ) from None


def sealed(host: Host, head: Head) -> SignedHead:
    """A head, signed. In the cloud only."""
    said = msgspec.json.encode(head)
    made = host.sign(PURPOSE, said)
    return SignedHead(head=said, signature=made.signature, key_id=made.key_id)


def opened(host: Host, signed: SignedHead) -> Head:
    """What a signed head says. Raises Corrupt if the cloud did not sign it for this tenant."""
    signature = Signature(key_id=signed.key_id, signature=signed.signature)
    host.verify(PURPOSE, signed.head, signature)
    try:
        return msgspec.json.decode(signed.head, type=Head)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"A head is not understood: {error}.", code="player.wire") from None
