"""Where blobs are kept: one port, a folder by default, any S3 service by setting."""

from __future__ import annotations

from pathlib import Path

from beira.blobs.folder import FolderBlobs
from beira.blobs.port import BlobStore, pieces
from beira.blobs.shelf import Shelf
from beira.kernel.errors import Misconfigured


async def open_blobs(where: str, folder: Path) -> BlobStore:
    """The store that `where` names: "" for `folder`, `s3://bucket/prefix`, or another folder's path.

    Raises: Misconfigured where it cannot be used, or S3 is asked for and its extra is not installed.
    """
    if not where:
        return FolderBlobs(folder)
    if "://" not in where:
        return FolderBlobs(Path(where))
    if not where.startswith(("s3://", "s3a://")):
        raise Misconfigured(
            f"{where} names no place for blobs.",
            code="blob.place",
            hint="Give a folder, or s3://bucket/prefix.",
        )
    try:
        from beira.blobs.s3 import S3Blobs
    except ModuleNotFoundError:
        raise Misconfigured(
            "Blobs in S3 need the extra s3.",
            code="blob.extra",
            hint="pip install 'beira[s3]'",
        ) from None
    store = S3Blobs(where)
    await store.check()
    return store


__all__ = ["BlobStore", "FolderBlobs", "Shelf", "open_blobs", "pieces"]
