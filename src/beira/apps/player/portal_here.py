"""The node's own page of its player: what is heard here, and its levers, with or without a network."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from beira.apps.player.commands import TITLE_CHARS
from beira.apps.player.edge import PlayerEdge
from beira.apps.player.under_way import UnderWay
from beira.sdk import BeiraError, Invalid, Receipt, Reply, View, page

STAFF = ("owner", "member")
LEVERS = ("player_play", "player_pause", "player_skip", "player_volume")
PLAYS_SHOWN = 8
FILES_SHOWN = 50
RECORDING_BYTES = 4_000_000
"""A form's body has room for it: minutes of what phones record."""


@page("/player", where="node")
async def here(view: View) -> Reply:
    return await _shown(view, "player/here.html")


@page("/player/now", where="node")
async def here_now(view: View) -> Reply:
    return await _shown(view, "player/here_now.html")


@page("/player/lever", method="POST", roles=STAFF, where="node")
async def lever(view: View) -> Reply:
    """Do it here and now, as the person who asks; what became of it is said beside the levers."""
    command = view.form.get("command", "")
    if command not in LEVERS:
        raise Invalid("There is no such lever.", code="player.lever")
    params: dict[str, object] = {}
    if command == "player_volume":
        text = view.form.get("volume", "")
        params["volume"] = int(text) if text.isascii() and text.isdigit() else text
    return await _done(view, await view.run(command, params))


@page("/player/announce", method="POST", roles=STAFF, where="node")
async def announce(view: View) -> Reply:
    """Cut in with a text that the node speaks, with a recording that came with the form, or with one
    of the node's announcements."""
    text, sent = " ".join(view.form.get("text", "").split()), view.files.get("sound")
    params: dict[str, object] = {"language": view.language}
    if text:
        params["text"] = text
    elif sent is not None:
        if not is_sound(sent.data) or view.host.blobs is None:
            return await _shown(view, _template(view), refused=NO_SOUND)
        file = (await view.host.blobs.add(sent.data)).sha256
        params |= {"file": file, "title": PurePath(sent.name).stem[:TITLE_CHARS]}
    else:
        file = view.form.get("file", "")
        params |= {"file": file, "title": _title(view, file)}
    return await _done(view, await view.run("player_announce", params))


def is_sound(data: bytes) -> bool:
    """Whether a file begins as one of those that phones record and people send."""
    mpeg = data[:1] == b"\xff" and data[1:2] >= b"\xe0"
    begins = data.startswith((b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3"))
    return mpeg or begins or data[4:8] == b"ftyp" or (data[:4], data[8:12]) == (b"RIFF", b"WAVE")


def _template(view: View) -> str:
    """The part that was asked for, or the page, for who has no scripts."""
    return "player/here_now.html" if view.form.get("part") == "yes" else "player/here.html"


async def _done(view: View, receipt: Receipt) -> Reply:
    if view.form.get("part") == "yes":
        return await _shown(view, "player/here_now.html", receipt)
    return view.redirect("/player", done="sent" if receipt.ok else "")


def _edge(view: View) -> PlayerEdge | None:
    try:
        return view.host.edge(PlayerEdge)
    except BeiraError:
        return None


def _title(view: View, file: str) -> str:
    player = _edge(view)
    named = player.announcements() if player else []
    return next((asset.title for asset in named if asset.file == file), "")


async def _shown(
    view: View,
    template: str,
    receipt: Receipt | None = None,
    refused: tuple[str, str] | None = None,
) -> Reply:
    player = _edge(view)
    said = _said(view, receipt) if receipt else None
    if refused is not None:
        said = (False, view.t(*refused))
    may = view.principal.role in STAFF
    if player is None:
        return view.render(template, player=None, may=may, said=said)
    playing = player.playing
    return view.render(
        template,
        player=player,
        now=_of(playing.current, player.engine.position_ms),
        next=_of(playing.lined, 0),
        paused=playing.paused,
        volume=playing.volume,
        trouble=_trouble(view, player),
        silent_s=playing.health.silent_ms / 1000,
        files=player.fetching.cached,
        missing=player.fetching.missing,
        version=player.held.head.version if player.held.head else 0,
        synced_at=player.syncing.synced_at,
        plays=await player.last_plays(PLAYS_SHOWN),
        announcements=player.announcements()[:FILES_SHOWN] if may else [],
        most_bytes=RECORDING_BYTES,
        speaks=player.host.speech is not None,
        may=may,
        said=said,
    )


def _of(one: UnderWay | None, position_ms: int) -> dict[str, Any] | None:
    if one is None:
        return None
    play = one.play
    return {
        "title": play.title, "artist": play.artist, "reason": play.reason,
        "position_ms": max(0, position_ms), "duration_ms": play.duration_ms,
    }  # fmt: skip


def _trouble(view: View, player: PlayerEdge) -> tuple[str, str] | None:
    """What is wrong with the sound, and what to do, in the reader's language."""
    trouble = player.engine.trouble
    if trouble is None:
        return None
    known = TROUBLES.get(trouble.code)
    return (view.t(*known[0]), view.t(*known[1])) if known else (trouble.message, trouble.hint)


TROUBLES = {
    "player.mpv_missing": (
        ("O mpv, que faz o som, não está instalado.", "mpv, which makes the sound, is missing."),
        ("No nó: sudo apt install mpv. Ele é achado sozinho.",
         "On the node: sudo apt install mpv. It is found by itself."),
    ),
    "player.no_output": (
        ("Nenhuma saída de som, ou ela está ocupada.", "No sound output, or it is in use."),
        ("Ligue a caixa de som, ou escolha a saída nas configurações do player.",
         "Plug in the speaker, or choose the output in the player's settings."),
    ),
    "player.off": (
        ("O som deste nó está desligado.", "This node's sound is switched off."),
        ("Nas configurações do player, deixe a saída em branco ou escolha uma.",
         "In the player's settings leave the output empty, or choose one."),
    ),
    "player.mpv_failed": (
        ("O mpv parou; ele volta sozinho.", "mpv has stopped; it comes back by itself."),
        ("Se durar, veja o log do nó.", "If it lasts, see the node's log."),
    ),
}  # fmt: skip

_SAID = {
    "player.playing": ("Tocando.", "Playing."),
    "player.paused": ("Pausada.", "Paused."),
    "player.skipped": ("Pulada.", "Skipped."),
    "player.volume": ("Volume ajustado.", "Volume set."),
    "player.announced": ("Anúncio no ar.", "The announcement is on."),
}
NO_SOUND = (
    "Isso não parece um áudio. Envie MP3, M4A, OGG, WAV, FLAC ou uma gravação do celular.",
    "That does not look like sound. Send MP3, M4A, OGG, WAV, FLAC or a phone's recording.",
)
_REFUSED = {
    "player.announcement": ("Escreva o anúncio, até 500 letras, ou escolha um áudio.",
                            "Write the announcement, up to 500 characters, or choose a sound."),
    "player.no_voice": ("Este nó não tem voz instalada. Escolha um áudio.",
                        "This node has no voice installed. Choose a sound."),
    "player.no_file": ("Esse áudio não está neste nó.", "That sound is not on this node."),
    "parameter.invalid": ("O volume vai de 0 a 100.", "The volume goes from 0 to 100."),
}  # fmt: skip


def _said(view: View, receipt: Receipt) -> tuple[bool, str]:
    if receipt.ok:
        return True, view.t(
            *_SAID.get(str((receipt.result or {}).get("told")), ("Feito.", "Done."))
        )
    known = _REFUSED.get(receipt.code)
    return False, view.t(*known) if known else f"{receipt.message} {receipt.hint}".strip()


PAGES = (here, here_now, lever, announce)
