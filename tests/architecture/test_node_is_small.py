"""A node's process holds the node alone: what reads commands, draws tables or checks models of other
kinds has no place in a small machine's memory all day, nor have inference libraries and compilers.

A real node runs, and says itself what it loaded.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beira.identity.shapes import Enrolled
from beira.node import memory, settled

NOT_HERE = {
    "rich", "typer", "pygments", "markdown_it", "pydantic", "pydantic_core", "polyfactory", "faker",
    "onnxruntime", "onnx", "asyncpg", "httpx", "pytest", "unittest", "opentelemetry", "google",
}  # fmt: skip
PATIENCE_S = 90
_LOADED = re.compile(r"^import time:\s+\d+ \|\s+\d+ \|\s+([\w.]+)$", re.MULTILINE)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    enrolled = Enrolled(
        node="small", tenant="t", tenant_name="T", site="s", site_name="S", name="Small",
        groups=(), issuer="http://127.0.0.1:9", jwks={"keys": []},
    )  # fmt: skip
    folder = tmp_path / "node"
    folder.mkdir(mode=0o700)
    settled.save(folder, settled.Settled(cloud="http://127.0.0.1:9", enrolled=enrolled))
    return folder


def test_a_node_loads_nothing_it_has_no_need_of(data: Path) -> None:
    log = data / "node.log"
    command = [sys.executable, "-X", "importtime", "-m", "beira.cli", "node", "run"]
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*command, "--data", str(data), "--port", "0"], env=environment,
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
    try:
        end = time.monotonic() + PATIENCE_S
        while "voice.ready" not in log.read_text(errors="replace"):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-2_000:]
            time.sleep(0.1)
        command_line = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    assert process.returncode == 0
    assert "beira.node" in command_line, "the command did not turn into the node"
    loaded = _of_the_node(log.read_text(errors="replace"))
    assert {"beira", "litestar", "structlog", "numpy"} <= loaded, "the log was read wrongly"
    assert loaded & NOT_HERE == set()
    order = _LOADED.findall(log.read_text(errors="replace").rpartition(" encodings\n")[2])
    began = next(at for at, name in enumerate(order) if name.startswith("beira.apps."))
    for late in ("litestar", "uvicorn", "aiohttp"):
        assert order.index(late) > began, f"{late} is loaded before any app can begin"


def _of_the_node(log: str) -> set[str]:
    """Packages that the node's own interpreter loaded parts of (a package that was looked for in vain
    is in the log too, without any). The command's are left out: the node loads `encodings` anew."""
    begun = log.rindex(" encodings\n")
    return {name.partition(".")[0] for name in _LOADED.findall(log[begun:]) if "." in name}


def test_hidden_packages_can_be_had_again_afterwards() -> None:
    name = "wave"  # any module that nothing here has loaded
    sys.modules.pop(name, None)
    with memory.without((name, "json")):
        with pytest.raises(ModuleNotFoundError):
            __import__(name)
        assert __import__("json").dumps(1) == "1", "what is loaded already stays"
    assert __import__(name).open


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["node", "--help"]])
def test_a_command_that_asks_nothing_loads_no_program(arguments: list[str]) -> None:
    program = (
        "import sys; from beira.cli import app; sys.argv[1:] = {!r}\n"
        "try: app()\nfinally: print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program.format(arguments)], capture_output=True, text=True
    )
    loaded = set(ran.stdout.splitlines()[-1].split())
    assert "beira.cli" in loaded
    heavy = {"litestar", "uvicorn", "aiohttp", "structlog", "cryptography", "numpy", "pydantic"}
    assert {name.partition(".")[0] for name in loaded} & heavy == set()
