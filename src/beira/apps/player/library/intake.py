"""Commands of the library: what was uploaded comes in here, and what failed is tried again."""

from __future__ import annotations

import msgspec

from beira.apps.player.records import Asset, AssetKind, Rendition
from beira.sdk import Context, Denied, Invalid, Kind, NotFound, Runs, Upload, command, where

ID_CHARS = 32
TITLE_CHARS = 200


class Added(msgspec.Struct, kw_only=True):
    """What became of an uploaded file. A `duplicate` was in the library before: nothing was added."""

    asset: str
    title: str
    state: str
    duplicate: bool = False


@command(runs=Runs.CLOUD)
async def player_asset_added(
    ctx: Context,
    upload: str,
    name: str,
    sha256: str,
    size_bytes: int,
    kind: AssetKind = "music",
    title: str = "",
    artist: str = "",
) -> Added:
    """Takes an uploaded file into the library, where it waits to be made ready. The same content
    again is told, and not doubled, whatever it is called."""
    await _check_sent(ctx, upload, sha256)
    id = sha256[:ID_CHARS]
    there = await ctx.get(Asset, id)
    if there is not None:
        return Added(asset=id, title=there.title, state=there.state, duplicate=True)
    made = Asset(
        id=id,
        title=title[:TITLE_CHARS] or stem(name),
        kind=kind,
        artist=artist[:TITLE_CHARS],
        master=sha256,
        master_name=name,
        master_bytes=size_bytes,
        uploaded_at=ctx.now(),
        uploaded_by=ctx.principal.name or ctx.principal.id,
    )
    ctx.put(made)
    return Added(asset=id, title=made.title, state=made.state)


@command(runs=Runs.CLOUD)
async def player_asset_retry(ctx: Context, asset: str) -> Added:
    """Makes an asset's files anew from its master: after a failure, or with other settings."""
    there = await ctx.get(Asset, asset)
    if there is None or not there.master:
        raise NotFound("There is no such asset.", code="player.asset_unknown")
    if there.state == "working":
        raise Invalid("It is being worked on.", code="player.asset_busy", hint="Wait a moment.")
    ctx.patch(Asset, asset, state="waiting", problem="", progress=0)
    return Added(asset=asset, title=there.title, state="waiting")


@command(runs=Runs.CLOUD)
async def player_asset_remove(ctx: Context, asset: str) -> None:
    """Takes an asset out of the library and away from every shop; its files go after some days."""
    if await ctx.get(Asset, asset) is None:
        raise NotFound("There is no such asset.", code="player.asset_unknown")
    for rendition in await ctx.find(Rendition, where(asset=asset)):
        ctx.delete(Rendition, rendition.id)
    ctx.delete(Asset, asset)


async def _check_sent(ctx: Context, upload: str, sha256: str) -> None:
    """A name alone opens nothing: people name files only that they sent."""
    if ctx.principal.kind is not Kind.PERSON:
        return
    sent = await ctx.get(Upload, upload)
    if sent is None or sent.by != ctx.principal.id or sent.sha256 != sha256:
        raise Denied("That file was not sent by this person.", code="player.not_sent")


def stem(name: str) -> str:
    """A file's name as a title, until its tags say better."""
    plain = name.rpartition(".")[0] or name
    return (" ".join(plain.replace("_", " ").split()) or "?")[:TITLE_CHARS]
