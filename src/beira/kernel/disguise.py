"""What of personal data leaves a node: as it is, as a keyed pseudonym, or not at all.

A pseudonym is the same for the same value under the same key, so the cloud can count and join without
knowing whom it counts. The key stays on the node; give a tenant's nodes one key and they agree.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32encode

import msgspec

from beira.kernel.collection import Collection, Travel
from beira.kernel.record import Row

KEY_BYTES = 32
PSEUDONYM_CHARS = 26


def pseudonym(value: str, key: bytes) -> str:
    """130 bits of HMAC-SHA256 in lower-case base32. An empty text stays empty."""
    if not value:
        return value
    mac = hmac.new(key, value.encode(), hashlib.sha256).digest()
    return b32encode(mac).decode().lower()[:PSEUDONYM_CHARS]


def travelling(collection: Collection, row: Row, key: bytes) -> Row | None:
    """The row as it leaves the node; None if nothing of it does."""
    if not collection.disguised:
        return row
    fields = {}
    for name, value in row.fields.items():
        declared = collection.fields.get(name)
        travel = declared.travel if declared else Travel.AS_IT_IS
        if travel is Travel.PSEUDONYM and isinstance(value, str):
            value = pseudonym(value, key)
        if travel is not Travel.WITHHELD:
            fields[name] = value
    if not fields:
        return None
    stamps = {name: stamp for name, stamp in row.stamps.items() if name in fields}
    return msgspec.structs.replace(row, fields=fields, stamps=stamps)
