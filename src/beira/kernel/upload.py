"""Uploads by people: what is known of a file while it comes, and what its client says of it.

The protocol is tus 1.0.0 (https://tus.io/protocols/resumable-upload): a client that was cut off asks how
far it got, and goes on there. Pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import Annotated, Any

import msgspec

from beira.kernel import limits
from beira.kernel.blob import BlobRef
from beira.kernel.collection import LOCAL, NORMAL, TENANT, Blob, Fetch, collection, collection_of
from beira.kernel.command import Command
from beira.kernel.errors import Invalid
from beira.kernel.record import State

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069/\\]")


@collection("uploads", flow=LOCAL, lane=NORMAL, partition=TENANT, read=(), write=())
class Upload(State):
    """A file that somebody (`by`) is sending. Once it is whole it is a blob under its SHA-256, and
    `command` is run with what came: its receipt's id is `upload-` and this record's."""

    name: str
    size_bytes: int
    by: str
    command: str
    params: dict[str, Any]
    created_at: datetime
    expires_at: datetime
    sha256: Annotated[str, Blob(Fetch.LAZY)] = ""
    done: bool = False


UPLOAD_COLLECTIONS = (collection_of(Upload),)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of its file: `params` are further parameters of the command."""

    name: str
    command: str
    params: dict[str, Any]


def told_by(metadata: str) -> Told:
    """The `Upload-Metadata` of a creation: filename, command, and params as a JSON object.

    Raises Invalid `upload.metadata`.
    """
    pairs: dict[str, str] = {}
    if len(metadata) > limits.UPLOAD_METADATA_CHARS:
        raise _invalid(f"it has over {limits.UPLOAD_METADATA_CHARS} characters")
    for pair in filter(None, (part.strip() for part in metadata.split(","))):
        key, _, value = pair.partition(" ")
        if not _KEY.match(key) or key in pairs:
            raise _invalid(f"the key {key[:64]!r}")
        try:
            pairs[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _invalid(f"{key} is not UTF-8 in base64") from None
    try:
        params = msgspec.json.decode(pairs.get("params", "{}"), type=dict[str, Any])
    except msgspec.MsgspecError:
        raise _invalid("params is not a JSON object") from None
    return Told(
        name=clean_name(pairs.get("filename", "")), command=pairs.get("command", ""), params=params
    )


def clean_name(text: str) -> str:
    """A file's name as people may be shown it: without folders and what cannot be seen."""
    name = _UNPRINTABLE.sub(" ", text.replace("\\", "/").rpartition("/")[2])
    return " ".join(name.split())[: limits.FILE_NAME_CHARS] or "?"


def handed_over(upload: Upload) -> dict[str, object]:
    """The parameters its command gets."""
    return {
        **upload.params,
        "upload": upload.id,
        "name": upload.name,
        "sha256": upload.sha256,
        "size_bytes": upload.size_bytes,
    }


def check_command(command: Command, upload: Upload) -> None:
    """Raise Invalid, before a byte is sent, for a command that could not take the file."""
    command.check(handed_over(upload))


def ref_of(upload: Upload) -> BlobRef:
    return BlobRef(sha256=upload.sha256, size_bytes=upload.size_bytes)


def _invalid(why: str) -> Invalid:
    return Invalid(
        f"Upload-Metadata is not understood: {why}.",
        code="upload.metadata",
        hint="Give filename, command and params (JSON), each in base64, with commas between.",
    )
