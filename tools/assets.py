"""Fetch the portal's scripts and fonts from the npm registry, pinned by their sha512.

They are neither copied into the repository nor loaded from a CDN by people's browsers: a shop's
screens must work with the internet gone, and a clone must stay small and honest about what is
ours. Only the standard library is used, since this runs before anything is installed, and inside
wheel builds.

    python tools/assets.py            the files the wheel needs, into src/beira/portal/static/vendor
    python tools/assets.py --test     also what only tests need, into .cache/assets

Running it again when nothing has changed touches neither disk nor network.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = Path(__file__).with_name("assets.json")
DESTINATIONS = {"run": ROOT / "src/beira/portal/static/vendor", "test": ROOT / ".cache/assets"}
STAMP_NAME = "assets.lock.json"
DEFAULT_REGISTRY = "https://registry.npmjs.org"
ARCHIVE_LIMIT_BYTES = 16 * 1024 * 1024
FILE_LIMIT_BYTES = 4 * 1024 * 1024
TIMEOUT_S = 30.0
ATTEMPTS = 3


class AssetError(Exception):
    """What went wrong, and, in `hint`, what to do next."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Package:
    """One pinned npm package, and which of its files go where."""

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]
    group: str = "run"

    def url(self, registry: str) -> str:
        """The archive's address: npm leaves the scope out of the file's name."""
        base_name = self.name.rpartition("/")[2]
        return f"{registry}/{self.name}/-/{base_name}-{self.version}.tgz"


def read_manifest(path: Path = MANIFEST) -> list[Package]:
    """The pinned packages; raises AssetError when the file is not what it should be."""
    try:
        entries = json.loads(path.read_text("utf-8"))["packages"]
        packages = [Package(**entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AssetError(f"{path} cannot be read: {error}", "restore it from git") from error
    for package in packages:
        if package.group not in DESTINATIONS:
            raise AssetError(f"{package.name}: no group {package.group!r}", "use run or test")
        for target in package.files.values():
            if Path(target).name != target:
                raise AssetError(f"{target}: a name is wanted, not a path", f"correct it in {path}")
    return packages


def registry_address(environment: Mapping[str, str]) -> str:
    """npm's own setting names the registry, so a company's mirror works here too."""
    chosen = environment.get("npm_config_registry") or environment.get("NPM_CONFIG_REGISTRY")
    address = (chosen or DEFAULT_REGISTRY).rstrip("/")
    if urlsplit(address).scheme not in ("https", "http"):
        raise AssetError(f"registry {address!r} is no http(s) address", "set npm_config_registry")
    return address


def download(url: str) -> bytes:
    """The bytes at `url`, tried three times; raises AssetError with the next step."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310
                body: bytes = response.read(ARCHIVE_LIMIT_BYTES + 1)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == ATTEMPTS:
                hint = "check the version in tools/assets.json and npm_config_registry"
                raise AssetError(f"{url} answered {error.code}", hint) from error
        except OSError as error:
            if attempt == ATTEMPTS:
                hint = (
                    "connect to the internet once, or set npm_config_registry to a registry "
                    "in reach, and run it again; what is already here is kept"
                )
                raise AssetError(f"{url} is out of reach: {error}", hint) from error
        time.sleep(attempt)
    if len(body) > ARCHIVE_LIMIT_BYTES:
        raise AssetError(f"{url} is over {ARCHIVE_LIMIT_BYTES} bytes", "check the package")
    return body


def verify(package: Package, archive: bytes) -> None:
    """Raise AssetError unless the archive is byte for byte the one pinned."""
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if package.integrity != f"sha512-{digest}":
        raise AssetError(
            f"{package.name} {package.version} is not what was pinned (got sha512-{digest})",
            "do not use it: check the registry; if the version was changed on purpose, "
            "take `npm view NAME@VERSION dist.integrity` into tools/assets.json",
        )


def extract(package: Package, archive: bytes) -> dict[str, bytes]:
    """Destination name to content, of only the files the manifest names."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            target = package.files.get(member.name.partition("/")[2])
            if target is None or not member.isfile() or member.size > FILE_LIMIT_BYTES:
                continue
            stream = tar.extractfile(member)
            if stream is not None:
                found[target] = stream.read()
    missing = sorted(set(package.files.values()) - set(found))
    if missing:
        raise AssetError(f"{package.name} {package.version} has no {missing}", f"see {MANIFEST}")
    return found


def write_atomically(path: Path, content: bytes) -> None:
    """A half-written script must never be served: write beside, sync, rename."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def sha256_of(path: Path) -> str | None:
    """The hash of what is there, or None when there is nothing."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def read_stamp(folder: Path) -> dict[str, dict[str, str]]:
    """What an earlier run put there: integrity to (file name to sha256)."""
    try:
        stamp = json.loads((folder / STAMP_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_right(package: Package, folder: Path, stamp: Mapping[str, dict[str, str]]) -> bool:
    """Whether every file of the package is there, unchanged since it was verified."""
    hashes = stamp.get(package.integrity, {})
    return all(
        name in hashes and hashes[name] == sha256_of(folder / name)
        for name in package.files.values()
    )


def clear_strangers(packages: list[Package], folder: Path) -> None:
    """Remove what an older manifest left, so that no unpinned file is packed or served."""
    wanted = {name for package in packages for name in package.files.values()} | {STAMP_NAME}
    for path in folder.iterdir():
        if path.is_file() and path.name not in wanted:
            path.unlink(missing_ok=True)


def install(packages: list[Package], folder: Path, registry: str) -> list[str]:
    """Bring `folder` to what the manifest says; the names of the packages downloaded."""
    stamp = read_stamp(folder)
    stale = [package for package in packages if not is_right(package, folder, stamp)]
    if not stale:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    fresh = {p.integrity: stamp[p.integrity] for p in packages if p not in stale}
    for package in stale:
        archive = download(package.url(registry))
        verify(package, archive)
        contents = extract(package, archive)
        for name, content in contents.items():
            write_atomically(folder / name, content)
        fresh[package.integrity] = {
            name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
        }
        write_atomically(folder / STAMP_NAME, json.dumps(fresh, indent=1).encode())
    clear_strangers(packages, folder)
    return [f"{package.name} {package.version}" for package in stale]


def ensure(groups: tuple[str, ...] = ("run",)) -> list[str]:
    """Make the files of `groups` right; the packages that had to be downloaded."""
    packages = read_manifest()
    registry = registry_address(os.environ)
    done: list[str] = []
    for group in groups:
        chosen = [package for package in packages if package.group == group]
        done += install(chosen, DESTINATIONS[group], registry)
    return done


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when all files are right, 1 with a message when they cannot be had."""
    parser = argparse.ArgumentParser(description="Fetch the portal's pinned scripts and fonts.")
    parser.add_argument("--test", action="store_true", help="also what only the tests need")
    options = parser.parse_args(arguments)
    try:
        done = ensure(("run", "test") if options.test else ("run",))
    except AssetError as error:
        print(f"assets: {error}\n  next: {error.hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"assets: {error}\n  next: check room and rights there", file=sys.stderr)
        return 1
    for name in done:
        print(f"assets: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
