"""Make a virtual environment with uv in it, on any machine that has Python and a package index.

Debian and Ubuntu ship Python without `ensurepip`, and adding it takes root. There, a pinned pip
is fetched from the package index, checked by its hash, and run straight from its wheel. Nothing
but the standard library is used, and a working environment is left alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path
from urllib.parse import urljoin

PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
TIMEOUT_S = 60.0
MADE_NAME = ".beira-venv"  # its time tells make when the environment was made anew


def is_working(folder: Path) -> bool:
    """Whether uv runs there, and scripts would: in a folder that was moved they do not."""
    try:
        first_line = (folder / "bin/pip").read_bytes().partition(b"\n")[0]
        if bytes(folder.resolve()) not in first_line:
            return False
        for command in (["bin/python", "-c", "import ssl"], ["bin/uv", "-V"]):
            line = [str(folder / command[0]), *command[1:]]
            subprocess.run(line, check=True, capture_output=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def pinned(constraints: Path, name: str) -> str:
    """`name==version` as the constraints say, or the bare name."""
    try:
        lines = constraints.read_text("utf-8").splitlines()
    except OSError:
        return name
    return next((line.split(" ")[0] for line in lines if line.startswith(f"{name}==")), name)


def fetch_pip(folder: Path) -> Path:
    """The pinned pip's wheel from the package index, verified, in `folder`."""
    index = os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
    page_url = f"{index.rstrip('/')}/pip/"
    with urllib.request.urlopen(page_url, timeout=TIMEOUT_S) as response:  # noqa: S310
        page = response.read().decode("utf-8", "replace")
    found = re.search(rf'href="([^"#]*{re.escape(PIP_WHEEL)})', page)
    if found is None:
        raise OSError(f"{page_url} does not list {PIP_WHEEL}")
    with urllib.request.urlopen(urljoin(page_url, found[1]), timeout=TIMEOUT_S) as response:  # noqa: S310
        wheel = response.read()
    if hashlib.sha256(wheel).hexdigest() != PIP_SHA256:
        raise OSError(f"{PIP_WHEEL} from {index} is not the one pinned: do not use that index")
    path = folder / PIP_WHEEL
    path.write_bytes(wheel)
    return path


def install_uv(folder: Path, requirement: str) -> None:
    """Install uv with the environment's pip, or with one run from its wheel."""
    python = folder / "bin/python"
    install = ["install", "--quiet", "--disable-pip-version-check"]
    if importlib.util.find_spec("ensurepip") is not None:
        subprocess.run([python, "-m", "pip", *install, requirement], check=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        pip = fetch_pip(Path(scratch))
        subprocess.run([python, pip / "pip", *install, str(pip), requirement], check=True)


def main(folder: Path, constraints: Path) -> int:
    """Exit status 0 when the environment works, 1 with the next step when it cannot be made."""
    made = folder / MADE_NAME
    if is_working(folder):
        if not made.exists():
            made.touch()
        return 0
    has_pip = importlib.util.find_spec("ensurepip") is not None
    try:
        print(f"venv: making {folder} with Python {sys.version.split()[0]}", flush=True)
        venv.create(folder, clear=True, symlinks=True, with_pip=has_pip)
        install_uv(folder, pinned(constraints, "uv"))
        made.touch()
    except (OSError, subprocess.SubprocessError) as error:
        print(
            f"venv: {folder} could not be made: {error}\n"
            "  next: check that the package index is in reach (PIP_INDEX_URL names another) and\n"
            f"        that {folder.resolve().parent} may be written, and run it again",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
