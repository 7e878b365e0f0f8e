"""A director's world to look at: shops in two time zones, a library, a programme, and what was played."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

from beira.apps.player.records import (
    Asset,
    Campaign,
    Fetched,
    NowPlaying,
    Play,
    Playlist,
    Rendition,
    Silence,
    Slot,
    UrgentAnnouncement,
)
from beira.host import Host
from beira.identity.node_key import NodeKey
from beira.identity.tenants import service
from beira.kernel.access import node_partition
from beira.kernel.collection import collection_of
from beira.kernel.record import DELETED, Record
from beira.kernel.system import NodeStatus, Site
from tests.acceptance.support import Company

TRACKS = (
    ("Manhã no cais", "Os Beira-Mar", 203), ("Sol de inverno", "Clara Nuvem", 187),
    ("Bossa do armazém", "Trio Lagoa", 241), ("Vento sul", "Os Beira-Mar", 219),
    ("Café passado", "Dona Aurora", 176), ("Rua das palmeiras", "Clara Nuvem", 232),
    ("Feira de sábado", "Banda do Mercado", 198), ("Ponte velha", "Trio Lagoa", 264),
    ("Chuva mansa", "Léo Araújo", 211), ("Farol", "Léo Araújo", 190),
    ("Domingo em casa", "Dona Aurora", 225), ("Rede na varanda", "Banda do Mercado", 207),
)  # fmt: skip
SPOTS = (("Ofertas da semana", 28), ("Padaria: pão quente às 16 h", 21), ("Clube de vantagens", 31))
ZONES = {"centro": "America/Sao_Paulo", "praia": "America/Sao_Paulo", "acre": "America/Rio_Branco"}


async def put(host: Host, *records: Record, partition: str = "tenant") -> None:
    """As if they had come up from there."""
    rows = []
    for record in records:
        declared = collection_of(record)
        record.id = record.id or host.wall.new_id()
        fields = declared.encode(record)
        if not declared.is_fact:
            fields[DELETED] = False
        rows.append(host.stamped(declared, record.id, partition, fields))
    await host.write(rows)


async def shops(company: Company, tenant: str) -> dict[str, str]:
    """Three sites with a node each: ids of the nodes, by site."""
    identity, found = company.cloud.identity, {}
    for site in ZONES:
        name = {"centro": "Centro", "praia": "Praia Brava", "acre": "Rio Branco"}[site]
        id = f"{tenant}-{site}"
        await identity.tenants.add_site(service(tenant), name, id=id)
        code = await identity.nodes.make_code(service(tenant), id, name=name)
        key = NodeKey(os.urandom(32))
        enrolled = await identity.nodes.enrol(key.enrol(code.code, identity.nodes.challenge()))
        found[site] = enrolled.node
    await company.cloud.follow_places(tenant)
    host = await company.host(tenant)
    async with host.writing() as ctx:
        for site, zone in ZONES.items():
            ctx.patch(Site, f"{tenant}-{site}", zone=zone)
    return found


def library(now: datetime) -> list[Record]:
    """Music, spots and an announcement; one ends soon, one failed."""
    made: list[Record] = []
    for at, (title, artist, seconds) in enumerate(TRACKS):
        asset = _asset(f"track-{at}", title, seconds, now - timedelta(days=3, minutes=at))
        asset.artist, asset.album = artist, "Coletânea da casa"
        made.append(asset)
    for at, (title, seconds) in enumerate(SPOTS):
        spot = _asset(f"spot-{at}", title, seconds, now - timedelta(days=2, minutes=at))
        spot.kind = "spot"
        made.append(spot)
    made[9].valid_until = f"{now + timedelta(days=5):%Y-%m-%dT%H:%M}"  # type: ignore[attr-defined]
    made[10].licence_until = f"{now - timedelta(days=1):%Y-%m-%dT%H:%M}"  # type: ignore[attr-defined]
    call = _asset("call", "Chamada: fechamento em 15 minutos", 14, now - timedelta(days=1))
    call.kind = "announcement"
    failed = _asset("failed", "gravacao-final(2)", 0, now - timedelta(minutes=9))
    failed.state, failed.problem, failed.waveform = (
        "failed",
        "player.undecodable Invalid data found",
        [],
    )
    failed.loudness_lufs = failed.peak_dbtp = None
    return [*made, call, failed]


def _asset(id: str, title: str, seconds: int, at: datetime) -> Asset:
    seed = sum(map(ord, title))
    peaks = [
        round(
            38
            + 34 * abs(math.sin(n * (0.11 + seed % 7 / 60)))
            + 22 * abs(math.sin(n * 0.73 + seed))
        )
        for n in range(200)
    ]
    return Asset(
        id=id, title=title, state="ready", duration_ms=seconds * 1000, waveform=peaks,
        loudness_lufs=-9.0 - seed % 50 / 10, peak_dbtp=-0.3 - seed % 9 / 10, master_name=f"{title}.flac",
        master_bytes=seconds * 88_000 + 1, uploaded_at=at, uploaded_by="Dona Rita",
    )  # fmt: skip


def renditions() -> list[Record]:
    """What shops have of each asset; `call`'s file is 1."""
    lengths = {"call": 14, **{f"track-{n}": track[2] for n, track in enumerate(TRACKS)}}
    lengths |= {f"spot-{n}": spot[1] for n, spot in enumerate(SPOTS)}
    return [
        Rendition(id=f"{n:064x}", asset=id, profile="opus-64", file=f"{n:064x}", size_bytes=1_500_000,
                  duration_ms=seconds * 1000, made_at=datetime.now(UTC))
        for n, (id, seconds) in enumerate(lengths.items(), 1)
    ]  # fmt: skip


def programme(tenant: str, nodes: dict[str, str]) -> list[Record]:
    tracks = [f"track-{at}" for at in range(len(TRACKS))]
    site = f"site:{tenant}-praia"
    return [
        *renditions(),
        Playlist(id="calm", name="Manhã calma", order="shuffled", assets=tracks[:8]),
        Playlist(id="lively", name="Tarde animada", order="shuffled", assets=tracks[4:]),
        Playlist(id="sunday", name="Domingo", order="ordered",
                 assets=["track-10", *tracks[:3], "failed"]),
        Playlist(id="spare", name="Reserva", order="ordered", assets=tracks[:2]),
        Slot(id="s1", playlist="calm", begins="07:00", ends="13:00"),
        Slot(id="s2", playlist="lively", begins="13:00", ends="21:00", days=[0, 1, 2, 3, 4, 5]),
        Slot(id="s3", playlist="sunday", begins="10:00", ends="18:00", days=[6]),
        Slot(id="s4", playlist="lively", place=site, begins="10:00", ends="12:00", days=[5]),
        Slot(id="s5", playlist="spare", use="emergency"),
        Campaign(id="offers", name="Ofertas da semana", assets=["spot-0", "spot-1"], every_tracks=4,
                 begins="08:00", ends="20:00"),
        Campaign(id="bread", name="Pão quente", assets=["spot-1"], at=["16:00"], place=site),
        Campaign(id="club", name="Clube de vantagens", assets=[], every_tracks=9, active=False),
    ]  # fmt: skip


async def played(host: Host, nodes: dict[str, str], now: datetime) -> None:
    """Some days of plays at each shop, what was fetched, and a silence."""
    for number, node in enumerate(nodes.values()):
        plays, at = [], now - timedelta(days=5 - number)
        for track in cycle(range(len(TRACKS))):
            if at > now:
                break
            title, artist, seconds = TRACKS[track]
            plays.append(Play(
                asset=f"track-{track}", title=title, artist=artist, kind="music", reason="scheduled",
                outcome="skipped" if track == 7 else "whole", at=at, file=f"{track:064x}",
                played_ms=seconds * (300 if track == 7 else 1000), duration_ms=seconds * 1000,
                playlist="calm",
            ))  # fmt: skip
            at += timedelta(minutes=31 + number * 7)
        fetched = [
            Fetched(asset=f"track-{n}", title=TRACKS[n][0], file=f"{n:064x}", size_bytes=1_480_000 + n,
                    at=now - timedelta(days=5, minutes=n), kind="fetched", took_ms=900 + n * 37)
            for n in range(len(TRACKS))
        ]  # fmt: skip
        silence = Silence(
            at=now - timedelta(hours=7), ms=12_400, why="mpv ended and was started anew"
        )
        await put(host, *plays, *fetched, silence, partition=node_partition(node))


async def living(host: Host, nodes: dict[str, str], now: datetime) -> None:
    """How the players are at this moment: one plays, one is paused, one is away with a problem."""
    for number, (_site, node) in enumerate(nodes.items()):
        title, artist, seconds = TRACKS[number]
        told: dict[str, Any] = {"asset": f"track-{number}", "title": title, "artist": artist}
        if number == 1:
            told["paused"] = True
        if number == 2:
            told |= {
                "problem": "player.mpv_missing",
                "next_step": "apt install mpv",
                "silent_ms": 64_000,
            }
        playing = NowPlaying(
            id=node, reason="scheduled", playlist="calm", since=now - timedelta(seconds=70),
            duration_ms=seconds * 1000, next_asset="track-5", next_title=TRACKS[5][0], volume=80,
            version=12, synced_at=now - timedelta(minutes=3), cached=14 if number else 12, wanted=14,
            cached_bytes=21_400_000, **told,
        )  # fmt: skip
        seen = now - timedelta(minutes=40 if number == 2 else 0)
        status = NodeStatus(
            id=node, release="0.1.0", started_at=now - timedelta(hours=30), seen_at=seen,
            online=number != 2, last_sync_at=seen, disk_free_bytes=18_200_000_000,
        )  # fmt: skip
        await put(host, playing, status, partition=node_partition(node))


async def fill(company: Company, tenant: str) -> dict[str, str]:
    """All of it, for a tenant: ids of the nodes by site."""
    nodes, host = await shops(company, tenant), await company.host(tenant)
    now = host.now()
    await put(host, *library(now), *programme(tenant, nodes))
    await played(host, nodes, now)
    await living(host, nodes, now)
    said = UrgentAnnouncement(
        title="Carro com farol aceso", file=f"{1:064x}", duration_ms=14_000, by="Dona Rita",
        at=now - timedelta(minutes=6), expires_at=now + timedelta(minutes=9),
    )  # fmt: skip
    await put(host, said)
    heard = Play(
        asset="call", title=said.title, kind="announcement", reason="announcement", outcome="whole",
        at=now - timedelta(minutes=5), played_ms=14_000, duration_ms=14_000, file=said.file,
    )  # fmt: skip
    await put(host, heard, partition=node_partition(nodes["centro"]))
    return nodes
