"""The portal's scripts and fonts come from a registry nobody here controls: nothing unpinned passes.

A registry of our own, on loopback, stands in for npm's.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import importlib.util
import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


def load_assets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assets_tool", ROOT / "tools" / "assets.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["assets_tool"] = module
    spec.loader.exec_module(module)
    return module


assets = load_assets()


def archive_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def integrity_of(archive: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()


class Registry:
    """Serves archives by path and counts what was asked."""

    def __init__(self) -> None:
        self.archives: dict[str, bytes] = {}
        self.asked: list[str] = []
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                body = registry.archives.get(self.path)
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                """Quiet: the tests look at `asked`."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def registry() -> Iterator[Registry]:
    serving = Registry()
    yield serving
    serving.server.shutdown()
    serving.server.server_close()


def published(registry: Registry, name: str = "@scope/thing", **files: bytes) -> object:
    contents = {f"dist/{key}.js": content for key, content in files.items()}
    archive = archive_of({**contents, "README.md": b"not wanted"})
    package = assets.Package(
        name=name,
        version="1.0.0",
        integrity=integrity_of(archive),
        files={path: Path(path).name for path in contents},
    )
    registry.archives[f"/{name}/-/{name.rpartition('/')[2]}-1.0.0.tgz"] = archive
    return package


def test_only_the_named_files_arrive_and_a_second_run_asks_nothing(
    registry: Registry, tmp_path: Path
) -> None:
    package = published(registry, one=b"1", two=b"2")
    assert assets.install([package], tmp_path, registry.address) == ["@scope/thing 1.0.0"]
    assert (tmp_path / "one.js").read_bytes() == b"1"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"one.js", "two.js", assets.STAMP_NAME}
    assert assets.install([package], tmp_path, registry.address) == []
    assert len(registry.asked) == 1


def test_a_file_changed_on_disk_is_fetched_again(registry: Registry, tmp_path: Path) -> None:
    package = published(registry, one=b"1")
    assets.install([package], tmp_path, registry.address)
    (tmp_path / "one.js").write_bytes(b"tampered")
    assert assets.install([package], tmp_path, registry.address) == ["@scope/thing 1.0.0"]
    assert (tmp_path / "one.js").read_bytes() == b"1"


def test_an_archive_other_than_the_pinned_one_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    package = published(registry, one=b"1")
    for path in registry.archives:
        registry.archives[path] = archive_of({"dist/one.js": b"evil"})
    with pytest.raises(assets.AssetError, match="not what was pinned") as caught:
        assets.install([package], tmp_path, registry.address)
    assert caught.value.hint
    assert not (tmp_path / "one.js").exists()


def test_what_an_older_manifest_left_is_removed(registry: Registry, tmp_path: Path) -> None:
    assets.install([published(registry, "old", one=b"1")], tmp_path, registry.address)
    assets.install([published(registry, "new", two=b"2")], tmp_path, registry.address)
    assert not (tmp_path / "one.js").exists()
    assert (tmp_path / "two.js").exists()


def test_a_version_that_is_not_there_says_what_to_check(registry: Registry, tmp_path: Path) -> None:
    package = published(registry, one=b"1")
    registry.archives.clear()
    with pytest.raises(assets.AssetError, match="404"):
        assets.install([package], tmp_path, registry.address)


def test_offline_says_the_next_step_and_keeps_what_is_right(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = published(registry, "here", one=b"1")
    assets.install([here], tmp_path, registry.address)
    monkeypatch.setattr(assets, "ATTEMPTS", 1)
    away = published(registry, "away", two=b"2")
    with pytest.raises(assets.AssetError, match="out of reach") as caught:
        assets.install([here, away], tmp_path, "http://127.0.0.1:9")
    assert "npm_config_registry" in caught.value.hint
    assert (tmp_path / "one.js").read_bytes() == b"1"
    assert assets.install([here], tmp_path, "http://127.0.0.1:9") == []


@pytest.mark.parametrize("target", ["../evil.js", "/etc/passwd", "a/b.js"])
def test_a_manifest_cannot_name_a_place_outside(tmp_path: Path, target: str) -> None:
    manifest = tmp_path / "assets.json"
    manifest.write_text(
        '{"packages": [{"name": "a", "version": "1", "integrity": "sha512-x",'
        f' "files": {{"x.js": "{target}"}}}}]}}'
    )
    with pytest.raises(assets.AssetError, match="not a path"):
        assets.read_manifest(manifest)


def test_the_registry_is_npms_own_setting() -> None:
    assert assets.registry_address({}) == assets.DEFAULT_REGISTRY
    chosen = {"npm_config_registry": "https://npm.example/"}
    assert assets.registry_address(chosen) == "https://npm.example"
    with pytest.raises(assets.AssetError, match="http"):
        assets.registry_address({"npm_config_registry": "file:///etc"})


def test_every_package_brings_its_licence() -> None:
    for package in assets.read_manifest():
        assert any(name.endswith("LICENSE.txt") for name in package.files.values()), package.name
