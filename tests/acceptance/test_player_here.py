# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""The player's page on the node, in a real browser: what is heard here, and its levers."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from beira.apps.player.edge import PlayerEdge
from beira.apps.player.records import Playlist, Slot
from beira.apps.voice.edge import VoiceEdge
from beira.host import Host
from beira.host.listen import Listen
from beira.node import program as node_program
from beira.node.program import Node, NodeConfig
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    PASSWORD,
    Company,
    company,
    postgres_directory,
    postgres_server,
    put,
    until,
)
from tests.acceptance.test_player_shop import rendition
from tests.acceptance.test_player_sound import tone
from tests.acceptance.test_portal_browser import AXE, SIZES, chromium, faults  # noqa: F401

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("mpv") is None, reason="mpv is not installed (apt install mpv)"
    ),
    pytest.mark.timeout(180),
]
SONGS = (("Águas de março", 440.0), ("Samba de verão", 550.0), ("Chega de saudade", 660.0))


async def songs(host: Host) -> None:
    for at, (title, hz) in enumerate(SONGS):
        await rendition(host, f"song-{at}", tone(90_000, hz), 90_000, title)
    ids = [f"song-{at}" for at in range(len(SONGS))]
    await put(host, Playlist(id="all", name="Tudo", assets=ids, no_repeat=0))
    await put(host, Slot(id="always", playlist="all"))


@asynccontextmanager
async def playing(
    company: Company,
    patch: pytest.MonkeyPatch,
    *,
    key_from: str = "",
    apps: tuple[str, ...] = ("player",),
) -> AsyncIterator[tuple[Node, str]]:
    """A node of a new tenant that plays, and the tenant."""
    patch.setenv("BEIRA_PLAYER_OUTPUT", "null")
    tenant = await company.tenant("loja")
    folder = await company.enrol(tenant, name="Loja Centro", key_from=key_from)
    await songs(await company.host(tenant))
    config = NodeConfig(data=folder, listen=Listen(), cloud=company.address, apps=apps)
    async with node_program.running(config) as node:
        player = node.host.edge(PlayerEdge)
        await until(lambda: player.playing.current and player.playing.current.play.asset)
        yield node, tenant


async def sign_in(page: Page, node: Node, tenant: str, who: str) -> None:
    await page.goto(node.address + "/sign-in")
    await page.get_by_label("E-mail").fill(f"{who}@{tenant}.example")
    await page.get_by_label("Senha", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Entrar").click()
    await page.wait_for_url(node.address + "/")


async def no_sound_is_refused(page: Page, node: Node, file: Path) -> None:
    await page.goto(node.address + "/player")
    await page.get_by_text("Anúncio urgente").click()
    await page.get_by_label("Uma gravação sua").set_input_files(file)
    await page.get_by_role("button", name="Anunciar agora").click()
    await expect(page.get_by_text("Isso não parece um áudio.")).to_be_visible()


async def test_the_levers_of_a_shop_work_on_its_own_page(
    company: Company, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with playing(company, monkeypatch) as (node, tenant):
        player = node.host.edge(PlayerEdge)
        page = await (await chromium.new_context(locale="pt-BR")).new_page()
        await sign_in(page, node, tenant, "owner")
        await page.goto(node.address + "/player")
        await page.get_by_role("heading", name="A música desta loja").wait_for()
        await page.get_by_role("button", name="Pausar").click()
        await expect(page.get_by_text("pausada").first).to_be_visible()
        assert player.playing.paused
        await page.get_by_role("button", name="Continuar").click()
        await expect(page.get_by_role("button", name="Pausar")).to_be_visible()
        before = player.playing.current
        await page.get_by_role("button", name="Pular").click()
        await expect(page.get_by_text("Pulada.")).to_be_visible()
        await until(lambda: player.playing.current is not before)
        await page.get_by_label("Volume", exact=True).fill("35")
        await page.get_by_role("button", name="Ajustar o volume").click()
        await expect(page.get_by_text("Volume ajustado.")).to_be_visible()
        await page.evaluate("document.body.dispatchEvent(new Event('live-player_now'))")
        await page.wait_for_load_state("networkidle")
        await expect(page.get_by_text("Volume ajustado.")).to_be_visible()
        assert player.playing.volume == 35
        skipped = page.locator("section", has_text="Já tocou").get_by_text("pulada")
        await expect(skipped.first).to_be_visible()
        await page.context.close()


async def test_a_recording_is_announced_from_the_page_and_the_music_goes_on(
    company: Company,
    chromium: Browser,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    recorded, text = tmp_path / "Loja fecha às 18h.wav", tmp_path / "lista.wav"
    recorded.write_bytes(tone(1_500, 330))
    text.write_text("#EXTM3U\n/etc/passwd\n")
    async with playing(company, monkeypatch) as (node, tenant):
        player = node.host.edge(PlayerEdge)
        page = await (await chromium.new_context(locale="pt-BR")).new_page()
        await sign_in(page, node, tenant, "member")
        await no_sound_is_refused(page, node, text)
        before = player.playing.current
        await page.get_by_label("Uma gravação sua").set_input_files(recorded)
        await page.get_by_role("button", name="Anunciar agora").click()
        await expect(page.get_by_text("Anúncio no ar.")).to_be_visible()
        await until(lambda: player.playing.current is before)
        played = page.locator("section", has_text="Já tocou").get_by_text("Loja fecha às 18h")
        await expect(played).to_be_visible()
        (told,) = [p for p in await player.last_plays(5) if p.kind == "announcement"]
        assert told.outcome == "whole"
        await page.context.close()
        page = await (
            await chromium.new_context(locale="pt-BR", java_script_enabled=False)
        ).new_page()
        await sign_in(page, node, tenant, "member")
        await no_sound_is_refused(page, node, text)
        await expect(page.get_by_role("heading", name="A música desta loja")).to_be_visible()
        await page.context.close()


async def test_a_text_is_spoken_over_the_music_by_the_page_and_by_voice(
    company: Company, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with playing(company, monkeypatch, apps=("player", "voice")) as (node, tenant):
        player, voice = node.host.edge(PlayerEdge), node.host.edge(VoiceEdge)
        page = await (await chromium.new_context(locale="pt-BR")).new_page()
        await sign_in(page, node, tenant, "member")
        await page.goto(node.address + "/player")
        before = player.playing.current
        await page.get_by_text("Anúncio urgente").click()
        await page.get_by_label("O que dizer").fill("A loja fecha em dez minutos.")
        await page.get_by_role("button", name="Anunciar agora").click()
        await expect(page.get_by_text("Anúncio no ar.")).to_be_visible()
        played = page.locator("section", has_text="Já tocou").get_by_text("dez minutos")
        await expect(played).to_be_visible(timeout=20_000)
        await until(lambda: player.playing.current is before)
        (told,) = [p for p in await player.last_plays(5) if p.kind == "announcement"]
        assert (told.outcome, told.title) == ("whole", "A loja fecha em dez minutos.")
        assert 1_000 < told.duration_ms < 10_000
        report = await voice.say("aurora anunciar que é hora do café", door="text", session="a")
        if report["choices"]:
            report = await voice.say("sim", door="text", session="a")
        assert report["ok"], report
        played = page.locator("section", has_text="Já tocou").get_by_text("hora do café")
        await expect(played).to_be_visible(timeout=20_000)
        report = await voice.say("aurora pausar a música", door="text", session="a")
        assert report["ok"], report
        await expect(page.get_by_role("button", name="Continuar")).to_be_visible()
        await page.context.close()


async def test_an_encrypted_node_plays_and_leaves_no_track_on_its_disk(
    company: Company, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    heard = tone(90_000, SONGS[0][1])[1_000:5_000]
    async with playing(company, monkeypatch, key_from=f"file:{tmp_path}/usb/key") as (node, _):
        player = node.host.edge(PlayerEdge)
        current = player.playing.current
        assert current is not None and current.play.asset
        began_ms = player.engine.position_ms
        await until(lambda: player.engine.position_ms > began_ms + 500)
        assert player.engine.trouble is None
        for folder in (temporary, node.store.path.parent):
            for file in folder.rglob("*"):
                assert not (file.is_file() and heard in file.read_bytes()), file


async def test_a_guest_sees_and_touches_nothing_and_everybody_can_read_it(
    company: Company, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = os.environ.get("BEIRA_SCREENS", "")
    async with playing(company, monkeypatch) as (node, tenant):
        for theme in ("light", "dark"):
            for width, height in SIZES:
                context = await chromium.new_context(
                    locale="pt-BR",
                    color_scheme=theme,
                    viewport={"width": width, "height": height},
                )
                page = await context.new_page()
                await sign_in(page, node, tenant, "member")
                await page.goto(node.address + "/player")
                await page.get_by_role("heading", name="Agora").wait_for()
                await page.get_by_text("Anúncio urgente").click()
                if AXE.exists():
                    assert await faults(page) == []
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, "nothing to scroll sideways"
                if pictures:
                    await page.wait_for_timeout(400)
                    where = Path(pictures) / f"player-here-{width}-{theme}.png"
                    await page.screenshot(path=where, full_page=True)
                await context.close()
