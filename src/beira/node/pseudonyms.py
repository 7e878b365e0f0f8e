"""The key with which names become pseudonyms before they leave the node (`kernel.disguise`).

It is made once and lies beside the node's own key. Copied to other nodes of the tenant, it makes them
give one person one pseudonym; the cloud never has it.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from beira.identity.private_files import PrivateFiles
from beira.kernel.disguise import KEY_BYTES
from beira.kernel.errors import Corrupt

FILE = "pseudonym.key"


def pseudonym_key(data: Path, files: PrivateFiles) -> bytes:
    """The key of the node in `data`, made if there is none. Raises Corrupt for a damaged one: another
    would give everybody another pseudonym."""
    path = data / FILE
    try:
        key = files.read(path)
    except FileNotFoundError:
        key = secrets.token_bytes(KEY_BYTES)
        files.write(path, key, durable=True)
    if len(key) != KEY_BYTES:
        raise Corrupt(
            f"{path} is {len(key)} bytes; a key has {KEY_BYTES}.",
            code="pseudonym.key",
            hint="Copy it from a backup or from another node of the tenant.",
        )
    return key
