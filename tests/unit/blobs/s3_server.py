"""A real S3 server (moto's) as a process of its own, for whoever tests against one."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

PATIENCE_S = 60
BUCKET = "beira-test"


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Its address, with the bucket made. Skips where the server is not installed."""
    pytest.importorskip("moto.server")
    pytest.importorskip("obstore")
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port = asked.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _make_bucket(url, process)
            yield url
        finally:
            process.kill()


def settings(url: str) -> dict[str, str]:
    """The variables by which a program finds it."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "beira",
        "AWS_SECRET_ACCESS_KEY": "not a secret",
        "AWS_REGION": "us-east-1",
    }


@contextlib.contextmanager
def settings_in_place(url: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings(url).items():
            patch.setenv(name, value)
        yield


def _make_bucket(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            asked = urllib.request.Request(f"{url}/{BUCKET}", method="PUT")
            urllib.request.urlopen(asked, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None and time.monotonic() < deadline_s, "it does not start"
            time.sleep(0.05)
