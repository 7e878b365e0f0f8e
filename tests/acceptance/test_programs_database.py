# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""The cloud and its database: away at the start, wrong for good, killed while it works."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest_asyncio

from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    PASSWORD,
    Program,
    Web,
    command,
    free_port,
    fresh_database,
    postgres_directory,
    postgres_server,
    program,
    roomy_folder,
    until,
)

HTML = {"Accept": "text/html", "Accept-Language": "pt-BR"}
AWAY = "O banco de dados não responde agora."


@pytest_asyncio.fixture(loop_scope="session")
async def web() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def cloud(folder: Path, port: int, *database: str) -> tuple[str, ...]:
    return ("cloud", "run", "--data", str(folder / "cloud"), "--port", str(port), *database)


async def health(web: aiohttp.ClientSession, url: str) -> Any:
    async with web.get(url + "/healthz") as answer:
        assert answer.status == 200
        return (await answer.json())["status"]


async def page(web: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with web.get(url, headers=HTML, allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def test_a_database_away_at_the_start_is_waited_for(web: aiohttp.ClientSession) -> None:
    with roomy_folder() as folder:
        server = await EmbeddedPostgres.start(folder / "postgres")
        urls = ("--database-url", server.dsn, "--owner-url", server.owner_dsn)
        await server.stop()
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        async with program(folder / "log", *cloud(folder, port, *urls)) as running:
            await running.answers(url, web)
            assert await health(web, url) == "degraded"
            for path in ("/", "/sign-in", "/nodes", "/join"):
                status, html = await page(web, url + path)
                assert status == 503 and AWAY in html and "data-retry" in html, path
            ask = Web(web, url).ask
            body = {"email": "a@example.com", "password": PASSWORD}
            for path in ("/auth/v1/token?grant_type=password", "/sync/v1/exchange"):
                status, told = await ask("POST", path, body)
                assert status in (401, 503), (path, told)
            status, told = await ask("POST", "/auth/v1/token?grant_type=password", body)
            assert (status, told["code"]) == (503, "database.away")
            assert running.code is None
            server = await EmbeddedPostgres.start(folder / "postgres")
            try:
                await until(lambda: _is(health(web, url), "ok"), "the database is taken up")
                status, html = await page(web, url + "/sign-in")
                assert status == 200 and AWAY not in html
                status, told = await ask("POST", "/auth/v1/token?grant_type=password", body)
                assert (status, told["code"]) == (401, "auth.wrong")
            finally:
                await running.stop()
                await server.stop()
        assert running.code == 0 and "Traceback" not in running.said()


async def _is(asked: Any, wanted: str) -> bool:
    return bool(await asked == wanted)


async def test_told_to_stop_while_it_waits_it_stops(web: aiohttp.ClientSession) -> None:
    with roomy_folder() as folder:
        port = free_port()
        nobody = ("--database-url", "postgresql://x:y@127.0.0.1:9/none")
        async with program(folder / "log", *cloud(folder, port, *nobody)) as running:
            await running.answers(f"http://127.0.0.1:{port}", web)
            await running.stop()
        assert running.code == 0 and "cloud.database_away" in running.said()


async def test_what_waiting_cannot_cure_ends_it(postgres_server: EmbeddedPostgres) -> None:
    dsn, owner_dsn = await fresh_database(postgres_server)
    admin = await asyncpg.connect(owner_dsn)
    await admin.execute("CREATE ROLE weak LOGIN PASSWORD 'weak' NOCREATEDB NOCREATEROLE")
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"GRANT CONNECT ON DATABASE {name} TO weak")
    await admin.close()
    user, _, rest = dsn.partition("://")[2].partition("@")
    account, _, password = user.partition(":")
    with roomy_folder() as folder:
        for wrong, says in (
            (dsn.replace(f":{password}@", ":wrong@"), "password"),
            (dsn.replace(f"/{name}?", "/nothing_here?"), "nothing_here"),
            (f"postgresql://weak:weak@{rest}", "permission denied"),
        ):
            assert wrong != dsn and account in dsn
            run = cloud(folder, free_port(), "--database-url", wrong)
            status, said = await asyncio.to_thread(command, *run)
            assert status == 1 and "(database.refused)" in said and says in said, said
            assert "DATABASE_URL" in said and "Traceback" not in said


async def test_a_wrong_password_found_out_later_ends_it_too(web: aiohttp.ClientSession) -> None:
    with roomy_folder() as folder:
        server = await EmbeddedPostgres.start(folder / "postgres")
        wrong = server.dsn.replace("beira_app:", "beira_app:wrong")
        await server.stop()
        port = free_port()
        asked = cloud(folder, port, "--database-url", wrong)
        async with program(folder / "log", *asked) as running:
            await running.answers(f"http://127.0.0.1:{port}", web)
            server = await EmbeddedPostgres.start(folder / "postgres")
            try:
                assert await running.ended() == 1
            finally:
                await server.stop()
        assert "(database.refused)" in running.said() and "Traceback" not in running.said()


def postgres_of(folder: Path) -> int:
    return int((folder / "cloud/postgres/data/postmaster.pid").read_text().splitlines()[0])


async def test_an_embedded_postgres_that_is_killed_is_started_again(
    web: aiohttp.ClientSession,
) -> None:
    """Three times, with kill -9: what was there is there again, by itself."""
    with roomy_folder() as folder:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        data = ("--data", str(folder / "cloud"))
        async with program(folder / "log", *cloud(folder, port)) as running:
            await running.answers(url, web)
            first = ("cloud", "first-owner", "Padaria", "dona@padaria.example", *data)
            status, said = await asyncio.to_thread(command, *first)
            assert status == 0, said
            password = said.split("password: ")[1].split()[0]
            for _ in range(3):
                was = postgres_of(folder)
                os.kill(was, signal.SIGKILL)

                async def signed_in() -> bool:
                    body = {"email": "dona@padaria.example", "password": password}
                    path = "/auth/v1/token?grant_type=password"
                    status, told = await Web(web, url).ask("POST", path, body)
                    assert status in (200, 503), told
                    return bool(status == 200 and postgres_of(folder) != was)

                await until(signed_in, f"it is back: {running.said()[-2_000:]}")
                await until(lambda: _is(health(web, url), "ok"), "and heard of")
        assert running.code == 0 and "PostgreSQL ended by itself" in running.said()


async def test_a_password_is_reset_beside_the_running_cloud(web: aiohttp.ClientSession) -> None:
    """At the cloud's machine, with the embedded database in use; all sessions end at once."""
    with roomy_folder() as folder:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        data = ("--data", str(folder / "cloud"))
        async with program(folder / "log", *cloud(folder, port)) as running:
            await running.answers(url, web)
            ask = Web(web, url)
            first = ("cloud", "first-owner", "Padaria", "dona@padaria.example", *data)
            _, said = await asyncio.to_thread(command, *first)
            token = await ask.sign_in(
                "dona@padaria.example", said.split("password: ")[1].split()[0]
            )
            for typed, code, says in (
                ("short\nshort\n", 1, "auth.password_weak"),
                (f"{PASSWORD}\n{PASSWORD}\n", 0, "has a new password"),
            ):
                done = await asyncio.to_thread(_reset, "dona@padaria.example", data, typed)
                assert done.returncode == code and says in done.stdout, done.stdout
                assert "Traceback" not in done.stdout
            done = await asyncio.to_thread(_reset, "no@body.example", data, typed)
            assert done.returncode == 1 and "not_found" in done.stdout
            status, told = await ask.ask("GET", "/auth/v1/user", token=token)
            assert (status, told["code"]) == (401, "auth.revoked")
            assert await ask.sign_in("dona@padaria.example")


def _reset(email: str, data: tuple[str, ...], typed: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "beira.cli", "cloud", "reset-password", email, *data],
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        start_new_session=True,
        check=False,
    )
