"""The node as a process: what the command hands it, how errors are said, what a command may ask it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from beira import cli
from beira.kernel.errors import Corrupt, Invalid, Misconfigured, Unavailable
from beira.node import __main__ as program
from beira.node import asking
from beira.node.process import failing_plainly


class Became(Exception):
    """Instead of turning into another program, which a test would not come back from."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    seen: list[list[str]] = []

    def execv(path: str, arguments: list[str]) -> None:
        assert path == sys.executable
        seen.append(arguments)
        raise Became

    monkeypatch.setattr(os, "execv", execv)
    return seen


def test_all_that_the_command_was_told_reaches_the_node(became: list[list[str]]) -> None:
    asked = ["node", "run", "--data", "/d", "--host", "::1", "--port", "8701", "--app", "voice"]
    asked += ["--cloud", "https://c", "--http-only", "--name", "shop", "--key-from", "env:KEY"]
    asked += ["--tls-cert", "/c.pem", "--tls-key", "/k.pem", "--ca", "/ca.pem"]
    ran = CliRunner().invoke(cli.app, asked)
    assert isinstance(ran.exception, Became)
    given = msgspec.json.decode(became[0][-1], type=program.NodeOptions)
    config = program._config(msgspec.structs.replace(given, ca=""))  # a file that is not there
    assert (config.data, config.listen.host, config.listen.port) == (Path("/d"), "::1", 8701)
    assert (config.cloud, config.http_only, config.names) == ("https://c", True, ("shop",))
    assert (config.apps, config.key_from) == (("voice",), "env:KEY")
    assert (config.listen.certificate, config.listen.key) == (Path("/c.pem"), Path("/k.pem"))
    assert given.ca == "/ca.pem"


def test_only_a_command_run_from_its_folder_looks_for_packages_there(
    became: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = program.NodeOptions(data="/d", host="127.0.0.1", port=0)
    for first, safe in (("/usr/bin", True), (str(Path.cwd()), False)):
        monkeypatch.setattr(sys, "path", [first, *sys.path])
        with pytest.raises(Became):
            program.become(options)
        assert ("-P" in became[-1]) is safe


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Misconfigured("No room.", code="room.none", hint="Make some."),
         "No room. (room.none)\n→ Make some.\n"),
        (ModuleNotFoundError("x", name="asyncpg.pool"), "pip install 'beira[cloud]'"),
    ],
)  # fmt: skip
def test_errors_are_said_with_the_next_step(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, failing_plainly():
        raise error
    assert ended.value.code == 1
    assert said in capsys.readouterr().err


def test_the_console_is_richs_own_once_it_is_used() -> None:
    code = (
        "import sys\n"
        "from beira.cli.shown import console\n"
        "assert 'rich.console' not in sys.modules\n"
        "from rich.progress import Progress\n"
        "with Progress(console=console) as bar:\n"
        "    bar.update(bar.add_task('Copying', total=2), completed=2)\n"
        "console.print('[bold]done[/bold]')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "Copying" in ran.stdout and "done" in ran.stdout


class _Answers(BaseHTTPRequestHandler):
    """A node that answers each path in one way."""

    def do_GET(self) -> None:
        status, body = {
            "/refused/node/status": (400, b'{"message": "No.", "code": "a.b", "hint": "Do."}'),
            "/page/node/status": (200, b"<html>"),
        }[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_what_a_node_refuses_is_said_in_its_words(address: str) -> None:
    with pytest.raises(Invalid) as told:
        await asking.status(address + "/refused")
    assert (told.value.message, told.value.code, told.value.hint) == ("No.", "a.b", "Do.")


async def test_what_is_no_node_is_said(address: str) -> None:
    with pytest.raises(Corrupt):
        await asking.status(address + "/page")
    for nowhere in ("http://127.0.0.1:9", "http://[::1", "http://127.0.0.1:port"):
        with pytest.raises(Unavailable):
            await asking.status(nowhere)
