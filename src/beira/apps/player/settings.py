"""What an owner can choose of the player, for the company, a site or a node."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

OfDay = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


def _about(text: str) -> Meta:
    return Meta(description=text)


class PlayerSettings(msgspec.Struct, kw_only=True):
    """Settings of the player."""

    volume: Annotated[int, Meta(ge=0, le=100), _about("Volume, 0 to 100")] = 80
    volume_by_hour: Annotated[
        list[Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d=(100|\d{1,2})$")]],
        _about("Other volumes from a time of day on, such as 20:00=50"),
    ] = []
    crossfade_ms: Annotated[
        int, Meta(ge=0, le=10_000), _about("Milliseconds that tracks overlap; 0: they join")
    ] = 0
    profile: Annotated[Literal["opus-64", "he-aac-v2"], _about("How shops get their music")] = (
        "opus-64"
    )
    target_lufs: Annotated[
        float, Meta(ge=-31, le=-8), _about("Loudness all is brought to (EBU R128, LUFS)")
    ] = -16.0
    media_url: Annotated[
        str, Meta(max_length=200), _about("Address of a cache or CDN before the cloud's /media")
    ] = ""
    download_from: Annotated[OfDay, _about("What is not urgent is fetched from this time on")] = (
        "00:00"
    )
    download_until: Annotated[
        OfDay, _about("… until this one; the same as the former: at any time")
    ] = "00:00"
    disk_mb: Annotated[
        int, Meta(ge=100, le=2_000_000), _about("What music may take of a node's disk, in MB")
    ] = 20_000
    ahead_days: Annotated[
        int, Meta(ge=0, le=60), _about("Fetch what plays within so many days")
    ] = 14
    silence_s: Annotated[
        int, Meta(ge=2, le=60), _about("Without sound for so long, the player is started anew")
    ] = 8
    output: Annotated[
        str,
        Meta(max_length=100),
        _about("mpv's audio device; empty: its own choice; null: unheard; off: nothing plays"),
    ] = ""
