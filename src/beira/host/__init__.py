"""What the two programs have in common: a tenant's data, the apps installed, and running commands."""

from beira.blobs.port import BlobNews
from beira.host.host import Host, Place, settings_at
from beira.host.ports import Signature
from beira.host.wall import SystemWall, Wall
from beira.identity.private_files import PrivateFiles
from beira.store.port import News

__all__ = [
    "BlobNews",
    "Host",
    "News",
    "Place",
    "PrivateFiles",
    "Signature",
    "SystemWall",
    "Wall",
    "settings_at",
]
