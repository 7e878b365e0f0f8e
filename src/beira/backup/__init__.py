"""Backups: a node's folder cut into sealed chunks, kept in places that need not be trusted.

A place (a folder on another disk, the cloud) holds chunks named by their SHA-256 and, for each backup
made, one manifest that says which chunks are which file. All of it is sealed under the recovery key,
which no place ever has. docs/decisions/0014-backup.md says why it is so.
"""

from beira.backup.folder import FolderPlace
from beira.backup.key import RecoveryKey
from beira.backup.making import Made, Piece, SourceFile, make
from beira.backup.manifest import ChunkRef, FileEntry, Generation, Manifest
from beira.backup.port import Place
from beira.backup.restoring import Pulled, pull, verify, verify_there
from beira.backup.seal import Sealer

__all__ = [
    "ChunkRef",
    "FileEntry",
    "FolderPlace",
    "Generation",
    "Made",
    "Manifest",
    "Piece",
    "Place",
    "Pulled",
    "RecoveryKey",
    "Sealer",
    "SourceFile",
    "make",
    "pull",
    "verify",
    "verify_there",
]
