"""One asset, from its master to what shops play: tags, cover, measures, and a rendition by profile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beira.apps.player.library import sound, tags
from beira.apps.player.library.intake import stem
from beira.apps.player.records import Asset, Rendition
from beira.apps.player.settings import PlayerSettings
from beira.sdk import Host, Invalid, settings_at, where

COVER = "cover"
READ_BYTES = 1_048_576
LOOKED, MEASURED = 5, 40


@dataclass(frozen=True)
class Steps:
    """Where to work, and whom to tell how far it is (in percent)."""

    folder: Path
    progress: Callable[[int], Awaitable[None]]


@dataclass
class Ready:
    """What is to be written: the asset's fields, its renditions, and those that they replace."""

    fields: dict[str, Any] = field(default_factory=dict)
    renditions: list[Rendition] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)


async def made_ready(
    host: Host, asset: Asset, settings: Sequence[Mapping[str, Any]], steps: Steps
) -> Ready:
    """Do all of it. Its files are blobs when this returns; no record names them yet.

    Raises Invalid with why the master cannot be played, Misconfigured, Unavailable, Full.
    """
    assert host.blobs is not None
    ready = Ready()
    async with host.blobs.file(asset.master) as master:
        told = await tags.read(master)
        await steps.progress(LOOKED)
        of = await sound.measured(master, told_s=told.length_s)
        await steps.progress(MEASURED)
        here = settings_at(PlayerSettings, settings, host.place)
        profiles = profiles_in_use(settings, here)
        for n, profile in enumerate(profiles, 1):
            made = await sound.made(master, of, steps.folder, profile, here.target_lufs)
            ready.renditions.append(await _kept(host, asset, profile, made))
            await steps.progress(MEASURED + (95 - MEASURED) * n // len(profiles))
    ready.fields = {
        **_named(asset, told),
        "made_by": recipe(profiles, here),
        "duration_ms": of.duration_ms,
        "loudness_lufs": of.loudness_lufs,
        "peak_dbtp": of.peak_dbtp,
        "waveform": of.waveform,
    }
    if picture := await tags.cover(told):
        ready.fields["cover"] = await _covered(host, asset, picture, ready)
    kept = {rendition.id for rendition in ready.renditions}
    ready.outdated = [id for id in await _former(host, asset) if id not in kept]
    return ready


def profiles_in_use(
    settings: Sequence[Mapping[str, Any]], tenant: PlayerSettings
) -> tuple[str, ...]:
    """The company's profile, and those that some site or node was given."""
    known = ("opus-64", "he-aac-v2")
    asked = {tenant.profile, *(row["values"].get("profile", "") for row in settings)}
    return tuple(profile for profile in known if profile in asked)


def recipe(profiles: Sequence[str], tenant: PlayerSettings) -> str:
    """What of the settings decides how an asset sounds, and in which files."""
    return f"{tenant.target_lufs:g} LUFS: {', '.join(profiles)}"


async def _kept(host: Host, asset: Asset, profile: str, made: sound.Made) -> Rendition:
    assert host.blobs is not None
    ref = await host.blobs.add(_read(made.path))
    async with host.writing() as ctx:
        there = await ctx.get(Rendition, ref.sha256)
        other = await ctx.get(Asset, there.asset) if there is not None else None
    if other is not None and other.id != asset.id:
        raise Invalid(f"It sounds the same as {other.title}.", code="player.same_sound")
    return Rendition(
        id=ref.sha256,
        asset=asset.id,
        profile=profile,
        file=ref.sha256,
        size_bytes=ref.size_bytes,
        duration_ms=made.measured.duration_ms,
        made_at=host.now(),
    )


async def _covered(host: Host, asset: Asset, picture: bytes, ready: Ready) -> str:
    """The cover's file; several assets may share one."""
    assert host.blobs is not None
    ref = await host.blobs.add(picture)
    ready.renditions.append(
        Rendition(
            id=ref.sha256,
            asset=asset.id,
            profile=COVER,
            file=ref.sha256,
            size_bytes=ref.size_bytes,
            duration_ms=0,
            made_at=host.now(),
        )
    )
    return ref.sha256


async def _former(host: Host, asset: Asset) -> list[str]:
    async with host.writing() as ctx:
        found = await ctx.find(Rendition, where(asset=asset.id))
    return [rendition.id for rendition in found if rendition.profile != COVER]


def _named(asset: Asset, told: tags.Tags) -> dict[str, str]:
    """What the tags say, where nobody has said otherwise."""
    found = {"artist": told.artist, "album": told.album, "genre": told.genre}
    named = {name: text for name, text in found.items() if text and not getattr(asset, name)}
    if told.title and asset.title == stem(asset.master_name):
        named["title"] = told.title
    return named


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            yield data
