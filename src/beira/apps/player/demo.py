"""Music for the demonstration, made on the spot: no licence stands behind it, and nothing is fetched.

Each track is the player's own jingle in another key, tempo and colour, long enough to hear that one
follows another. They go the way that any file goes: into the library as masters, to be made ready.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import structlog

from beira.apps.player.library import ffmpeg
from beira.apps.player.library.intake import ID_CHARS
from beira.apps.player.records import Asset, AssetKind, Campaign, Playlist, Slot
from beira.sdk import Host, Misconfigured, site_partition

log = structlog.get_logger(__name__)
JINGLE = Path(__file__).parent / "sound" / "jingle.opus"
MUSIC = (
    ("Manhã no cais", "Os Beira-Mar", -5, 0.90, "lowpass=f=3200"),
    ("Sol de inverno", "Clara Nuvem", -3, 1.00, "aecho=0.8:0.6:180:0.3"),
    ("Bossa do armazém", "Trio Lagoa", 0, 0.80, "tremolo=f=4:d=0.5"),
    ("Vento sul", "Os Beira-Mar", 2, 1.15, "highpass=f=220"),
    ("Café passado", "Dona Aurora", -7, 0.85, "chorus=0.6:0.9:50:0.4:0.25:2"),
    ("Feira de sábado", "Banda do Mercado", 5, 1.25, "aecho=0.8:0.5:90:0.25"),
)
"""Title, artist, semitones up, tempo, and colour."""
SPOT = ("Ofertas da semana (amostra)", "", 7, 1.4, "volume=1")
CALL = ("Atenção, clientes (amostra)", "", 9, 1.3, "volume=1")
LOOPS = 3
LAST = "demo-emergency"
"""Written with the last of it: once that is there, all is."""
RATE_HZ = 48_000
_made: dict[tuple[int, float, str, int], bytes] = {}
"""Two companies are given the same."""


async def fill(host: Host, tenant: str, sites: Iterable[str]) -> None:
    """A library, playlists, a grid and a campaign; nothing where there is no ffmpeg."""
    if await host.store.get("player_slots", LAST) is not None:
        return
    try:
        music = [await _added(host, one, "music", LOOPS) for one in MUSIC]
        spot = await _added(host, SPOT, "spot", 0)
        await _added(host, CALL, "announcement", 0)
    except Misconfigured as error:
        log.warning("player.no_demo", why=error.message, hint=error.hint)
        return
    first = next(iter(sites), "")
    async with host.writing() as ctx:
        ctx.put(Playlist(id="demo-calm", name="Manhã calma", order="shuffled", assets=music[:4]))
        ctx.put(
            Playlist(id="demo-lively", name="Tarde animada", order="shuffled", assets=music[2:])
        )
        ctx.put(Playlist(id="demo-spare", name="Reserva", assets=music[:2]))
        ctx.put(Slot(id="demo-all-day", playlist="demo-calm"))
        ctx.put(Slot(id="demo-lively", playlist="demo-lively", begins="12:00", ends="20:00"))
        if first:
            near = site_partition(first)
            ctx.put(Slot(id="demo-near", playlist="demo-calm", place=near, days=[6], begins="12:00",
                         ends="18:00"))  # fmt: skip
        ctx.put(Slot(id=LAST, playlist="demo-spare", use="emergency"))
        ctx.put(Campaign(id="demo-offers", name="Ofertas da semana", assets=[spot], every_tracks=3))


async def _added(
    host: Host, made: tuple[str, str, int, float, str], kind: AssetKind, loops: int
) -> str:
    """A piece as a master in the library, waiting to be made ready; its id."""
    title, artist, semitones, tempo, colour = made
    sound = await _variation(semitones, tempo, colour, loops)
    assert host.blobs is not None
    ref = await host.blobs.add(sound)
    asset = Asset(
        id=ref.sha256[:ID_CHARS], title=title, artist=artist, kind=kind, master=ref.sha256,
        master_name=f"{title}.flac", master_bytes=ref.size_bytes, uploaded_at=host.now(),
        uploaded_by="Demonstração",
    )  # fmt: skip
    async with host.writing() as ctx:
        ctx.put(asset)
    return asset.id


async def _variation(semitones: int, tempo: float, colour: str, loops: int) -> bytes:
    """The jingle in another key and tempo, as FLAC. Raises Misconfigured without ffmpeg."""
    key = (semitones, tempo, colour, loops)
    if key in _made:
        return _made[key]
    ratio = 2 ** (semitones / 12)
    filters = (
        f"asetrate={round(RATE_HZ * ratio)},aresample={RATE_HZ},atempo={tempo / ratio:.4f},{colour},"
        "alimiter=limit=0.7"
    )
    found: list[bytes] = []
    ran = await ffmpeg.run(
        *ffmpeg.INPUT, "-stream_loop", str(loops), "-i", str(JINGLE), "-af", filters,
        "-fflags", "+bitexact", "-flags:a", "+bitexact", "-sample_fmt", "s16",
        "-f", "flac", "-", heard=found.append,
    )  # fmt: skip
    if ran.code:
        raise Misconfigured(f"ffmpeg could not make the sample music: {ran.said[-200:]}")
    _made[key] = b"".join(found)
    return _made[key]
