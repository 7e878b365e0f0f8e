"""An app that takes files from people, for the stories of uploads."""

from __future__ import annotations

from typing import Annotated

from beira.kernel.app import Catalogue, catalogue
from beira.sdk import (
    LOCAL,
    NORMAL,
    TENANT,
    App,
    Blob,
    Context,
    Fetch,
    Invalid,
    Runs,
    State,
    collection,
    collection_of,
    command,
    command_of,
)


@collection("photos", flow=LOCAL, lane=NORMAL, partition=TENANT, read=("owner", "member"))
class Photo(State):
    """What was sent."""

    name: str
    file: Annotated[str, Blob(Fetch.LAZY)]
    size_bytes: int
    album: str


@command(runs=Runs.CLOUD)
async def photo_came(
    ctx: Context, upload: str, name: str, sha256: str, size_bytes: int, album: str = ""
) -> dict[str, str]:
    """Keeps a photo."""
    if album == "closed":
        raise Invalid("That album is closed.", code="photo.closed")
    ctx.put(Photo(name=name, file=sha256, size_bytes=size_bytes, album=album))
    return {"album": album}


@command
async def at_a_node(ctx: Context) -> None:
    """Runs at nodes only."""


app = App(
    name="photos",
    title="Photos",
    collections=(collection_of(Photo),),
    commands=(command_of(photo_came), command_of(at_a_node)),
)


def alone(only: tuple[str, ...] = ()) -> Catalogue:
    return catalogue([app])
