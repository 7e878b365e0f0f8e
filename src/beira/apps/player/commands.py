"""What people may ask of a shop's player, by any door: the portal, the node's page, a voice."""

from __future__ import annotations

import io
import wave
from typing import Annotated

import msgspec
from msgspec import Meta

from beira.apps.player.edge import PlayerEdge
from beira.apps.player.playing import Announcement
from beira.sdk import CRITICAL, IMPORTANT, Context, Invalid, Personal, Unavailable, command

STAFF = ("owner", "member")
TEXT_CHARS = 500
SHA256_CHARS = 64
TITLE_CHARS = 120
FILE_MS = 60_000
"""How long a file is taken to be whose length nobody told; the engine knows when it ends."""


class PlayerTold(msgspec.Struct, kw_only=True):
    """How the player is after a command. `told` names the wording of an answer."""

    told: str
    title: str = ""
    volume: int = 0
    paused: bool = False


def _told(player: PlayerEdge, told: str, title: str = "") -> PlayerTold:
    playing = player.playing
    return PlayerTold(told=told, title=title, volume=playing.volume, paused=playing.paused)


@command(roles=STAFF, lane=IMPORTANT)
async def player_play(ctx: Context) -> PlayerTold:
    """Goes on with the music, after a pause."""
    player = ctx.edge(PlayerEdge)
    await player.playing.pause(False)
    return _told(player, "player.playing")


@command(roles=STAFF, lane=IMPORTANT)
async def player_pause(ctx: Context) -> PlayerTold:
    """Pauses the music, until it is asked to go on or the node starts anew. Urgent announcements are
    heard all the same."""
    player = ctx.edge(PlayerEdge)
    await player.playing.pause(True)
    return _told(player, "player.paused")


@command(roles=STAFF, lane=IMPORTANT)
async def player_skip(ctx: Context) -> PlayerTold:
    """Goes on to what comes next."""
    player = ctx.edge(PlayerEdge)
    return _told(player, "player.skipped", await player.playing.skip())


@command(roles=STAFF, lane=IMPORTANT)
async def player_volume(
    ctx: Context,
    volume: Annotated[int, Meta(ge=0, le=100)] | None = None,
    change: Annotated[int, Meta(ge=-100, le=100)] = 0,
) -> PlayerTold:
    """Sets the volume, 0 to 100, or changes what it is, until the next hour for which the settings
    want another."""
    player = ctx.edge(PlayerEdge)
    level = player.playing.volume if volume is None else volume
    await player.playing.set_volume(min(max(level + change, 0), 100))
    return _told(player, "player.volume")


@command(roles=STAFF, lane=CRITICAL)
async def player_announce(
    ctx: Context,
    text: Annotated[str, Personal] = "",
    file: str = "",
    title: str = "",
    language: str = "pt-BR",
) -> PlayerTold:
    """Cuts in with an announcement: a text that is spoken, or a file that is on the node (its
    SHA-256). The music goes on where it stopped."""
    player = ctx.edge(PlayerEdge)
    text = text.strip()
    if bool(text) == bool(file) or len(text) > TEXT_CHARS or len(title) > TITLE_CHARS:
        raise Invalid(
            f"Give a text of at most {TEXT_CHARS} characters, or a file.",
            code="player.announcement",
            hint="What is longer is better recorded, and sent as a file.",
        )
    duration_ms = FILE_MS
    if text:
        file, duration_ms = await _spoken(player, text, language)
    elif len(file) != SHA256_CHARS or not player.fetching.here(file):
        raise Invalid(
            "That file is not on this node.",
            code="player.no_file",
            hint="Send it by the node's page, or as an urgent announcement in the portal.",
        )
    shown = title or text[:TITLE_CHARS] or "Anúncio"
    await player.playing.announce(Announcement(ctx.call_id, shown, file, duration_ms))
    return _told(player, "player.announced", shown)


async def _spoken(player: PlayerEdge, text: str, language: str) -> tuple[str, int]:
    """A text as a file of the node's, and its length."""
    speech, blobs = player.host.speech, player.host.blobs
    if speech is None or blobs is None:
        raise Unavailable(
            "No voice is installed on this node.",
            code="player.no_voice",
            hint="pip install 'beira[voice]' on the node, or send a recording.",
        )
    wav = await speech(text, language)
    with wave.open(io.BytesIO(wav)) as opened:
        duration_ms = round(opened.getnframes() * 1000 / opened.getframerate())
    return (await blobs.add(wav)).sha256, duration_ms
