"""The cloud's program and its database, killed while a director works: his files go on where they were, a
job that was under way is done after all, and nothing of the dead goes on running."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import async_playwright

from tests.acceptance.support import (
    Program,
    Web,
    command,
    free_port,
    program,
    roomy_folder,
    until,
)
from tests.acceptance.test_portal_browser import ARGUMENTS, CHROMIUM
from tests.unit.player.sounds import sound

UPLOADS = "/storage/v1/upload/resumable"
EMAIL = "dona@padaria.example"


def encoding(folder: Path) -> list[int]:
    """The ffmpegs that read files of this cloud."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            said = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"ffmpeg" in said and str(folder).encode() in said:
            found.append(int(entry.name))
    return found


def kill_database(folder: Path) -> None:
    postmaster = folder / "cloud/postgres/data/postmaster.pid"
    os.kill(int(postmaster.read_text().splitlines()[0]), signal.SIGKILL)


async def signed_in(web: Web, password: str) -> str:
    """An access token, once the cloud can give one."""

    async def token() -> str:
        body = {"email": EMAIL, "password": password}
        try:
            status, told = await web.ask("POST", "/auth/v1/token?grant_type=password", body)
        except aiohttp.ClientError:
            return ""
        return str(told["access_token"]) if status == 200 else ""

    return str(await until(token, "signed in"))


async def sent(web: Web, token: str, data: bytes, cut_at: int, cut: Any) -> str:
    """Send a file by tus; at `cut_at` `cut` happens, and it goes on where it was. The upload's path."""
    told = {"filename": "longa.wav", "command": "player_asset_added"}
    meta = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in told.items())
    tus = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {token}"}
    headers = {**tus, "Upload-Length": str(len(data)), "Upload-Metadata": meta}
    async with web.session.post(web.url + UPLOADS, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
        where = web.url + answer.headers["Location"]
    piece = {**tus, "Content-Type": "application/offset+octet-stream"}
    async with web.session.patch(
        where, data=data[:cut_at], headers={**piece, "Upload-Offset": "0"}
    ) as answer:
        assert answer.status == 204
    await cut()

    async def offset() -> int:
        try:
            async with web.session.head(where, headers=tus) as answer:
                return int(answer.headers.get("Upload-Offset", -1)) if answer.status == 200 else -1
        except aiohttp.ClientError:
            return -1

    assert await until(lambda: _known(offset), "the upload is known again") == cut_at
    async with web.session.patch(
        where, data=data[cut_at:], headers={**piece, "Upload-Offset": str(cut_at)}
    ) as answer:
        assert answer.status == 204, await answer.text()
    return where


async def _known(offset: Any) -> int:
    return max(0, await offset())


async def asset_is(web: Web, token: str, *states: str) -> dict[str, Any] | None:
    _, rows = await web.ask("GET", "/rest/v1/player_assets", token=token)
    return rows[0] if rows and rows[0]["state"] in states else None


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_killed_with_its_database_while_a_file_comes_and_again_while_it_is_encoded() -> None:
    data = sound("wav", seconds=240.0)
    with roomy_folder() as folder:
        port = free_port()
        where = ("--data", str(folder / "cloud"))
        run = ("cloud", "run", *where, "--port", str(port))
        url = f"http://127.0.0.1:{port}"
        async with program(folder / "log", *run) as cloud, aiohttp.ClientSession() as session:
            web = Web(session, url)
            await cloud.answers(url, session)
            first = ("cloud", "first-owner", "Padaria", EMAIL, *where)
            status, said = await asyncio.to_thread(command, *first)
            assert status == 0, said
            password = said.split("password: ")[1].split()[0]
            token = await signed_in(web, password)

            async def killed() -> None:
                await _killed(cloud, folder, session, url)

            await sent(web, token, data, len(data) // 3, killed)
            token = await signed_in(web, password)
            await until(lambda: asset_is(web, token, "working"), "it is worked on")
            await until(lambda: encoding(folder), "by ffmpeg", every_s=0.005)
            children = encoding(folder)
            await killed()
            token = await signed_in(web, password)
            await until(lambda: _gone(children), "the dead cloud's children end with it")
            asset = await until(
                lambda: asset_is(web, token, "ready", "failed"),
                "it is done after all",
                within_s=150,
            )
            assert asset["state"] == "ready", asset
            assert abs(asset["duration_ms"] - 240_000) < 100
            _, made = await web.ask("GET", "/rest/v1/player_renditions", token=token)
            assert [one["profile"] for one in made] == ["opus-64"]


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no Chromium: tools/system.sh installs it")
async def test_the_directors_open_page_recovers_by_itself() -> None:
    """What was being typed is still there, nobody reloads or signs in again, and what others do since
    is shown."""
    with roomy_folder() as folder:
        port = free_port()
        where = ("--data", str(folder / "cloud"))
        run = ("cloud", "run", *where, "--port", str(port))
        url = f"http://127.0.0.1:{port}"
        async with (
            program(folder / "log", *run) as cloud,
            aiohttp.ClientSession() as session,
            async_playwright() as play,
        ):
            await cloud.answers(url, session)
            first = ("cloud", "first-owner", "Padaria", EMAIL, *where)
            status, said = await asyncio.to_thread(command, *first)
            assert status == 0, said
            password = said.split("password: ")[1].split()[0]
            browser = await play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = await (await browser.new_context(locale="pt-BR")).new_page()
            await page.goto(url + "/sign-in")
            await page.get_by_label("E-mail").fill(EMAIL)
            await page.get_by_label("Senha", exact=True).fill(password)
            await page.get_by_role("button", name="Entrar").click()
            await page.get_by_role("heading", name="Hoje").wait_for()
            await page.goto(url + "/music/playlists")
            await page.locator("#pulse[data-state=on]").wait_for()
            await page.evaluate("() => { window.notReloaded = true }")
            await page.get_by_label("Nova playlist").fill("Manhã de domingo")
            kill_database(folder)
            cloud.kill()
            await page.locator("#pulse:not([data-state=on])").wait_for(timeout=30_000)
            cloud.start()
            await cloud.answers(url, session)
            await page.locator("#pulse[data-state=on]").wait_for(timeout=60_000)
            assert await page.get_by_label("Nova playlist").input_value() == "Manhã de domingo"
            web = Web(session, url)
            token = await signed_in(web, password)
            await added(web, token, "Noite")
            await page.get_by_text("Noite").first.wait_for(timeout=30_000)
            await page.get_by_role("button", name="Criar", exact=True).click()
            await page.get_by_role("heading", name="Manhã de domingo").wait_for()
            await browser.close()


async def added(web: Web, token: str, name: str) -> None:
    body = {"id": name.lower(), "name": name, "assets": []}
    status, told = await web.ask("POST", "/rest/v1/player_playlists", body, token=token)
    assert status == 201, told


async def _killed(cloud: Program, folder: Path, session: aiohttp.ClientSession, url: str) -> None:
    kill_database(folder)
    cloud.kill()
    cloud.start()
    await cloud.answers(url, session)


def _gone(children: list[int]) -> bool:
    return not any(Path(f"/proc/{child}").exists() for child in children)
