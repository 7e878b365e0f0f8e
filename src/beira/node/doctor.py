"""`beira node doctor`: what a node has, what is missing, and how to get it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from beira.host.apps import installed, left_out, load
from beira.kernel import limits
from beira.kernel.errors import BeiraError
from beira.node import at_rest, settled
from beira.node.at_rest import DATABASE_FILE
from beira.store.sqlite import SqliteStore


class Finding(msgspec.Struct, kw_only=True):
    """One thing looked at. `next_step` is empty when there is nothing to do."""

    name: str
    ok: bool
    what: str
    next_step: str = ""


async def diagnose(data: Path, apps: tuple[str, ...] = ()) -> list[Finding]:
    """Look at the node in `data`, and at each app's own parts. Changes nothing."""
    findings = [_folder(data), _enrolment(data), _encryption(data), _disk(data)]
    findings.append(await _database(data))
    for name, error in left_out().items():
        findings.append(Finding(name=name, ok=False, what=error.message, next_step=error.hint))
    for app in installed(apps).apps:
        if app.doctor:
            findings += [
                msgspec.convert(f, Finding, from_attributes=True)
                for f in await load(app.doctor)(data)
            ]
    return findings


def _folder(data: Path) -> Finding:
    if not data.is_dir():
        step = "Enrol the node first: beira node enrol URL CODE --data FOLDER."
        return Finding(name="folder", ok=False, what=f"{data} is not there", next_step=step)
    if not os.access(data, os.W_OK):
        step = f"Give this user the right to write there: chown -R $(id -u) {data}"
        return Finding(name="folder", ok=False, what=f"{data} cannot be written", next_step=step)
    return Finding(name="folder", ok=True, what=str(data))


def _enrolment(data: Path) -> Finding:
    try:
        me = settled.load(data, at_rest.opened(data).files)
    except BeiraError as error:
        return Finding(name="enrolment", ok=False, what=error.message, next_step=error.hint)
    given = me.enrolled
    what = f"{given.name} of {given.tenant_name}, at {given.site_name}; cloud {me.cloud}"
    return Finding(name="enrolment", ok=True, what=what)


def _encryption(data: Path) -> Finding:
    try:
        ok, what, step = at_rest.finding(data)
    except BeiraError as error:
        return Finding(name="encryption", ok=False, what=error.message, next_step=error.hint)
    return Finding(name="encryption", ok=ok, what=what, next_step=step)


def _disk(data: Path) -> Finding:
    if not data.is_dir():
        return Finding(
            name="disk",
            ok=False,
            what=f"{data} is no folder",
            next_step="Enrol into it (beira node enrol), or name the right one with --data.",
        )
    free_bytes = shutil.disk_usage(data).free
    enough = free_bytes > 2 * limits.DISK_RESERVE_BYTES
    step = "" if enough else "Make room: below the reserve only critical records are taken."
    return Finding(name="disk", ok=enough, what=f"{free_bytes / 1e9:.1f} GB free", next_step=step)


async def _database(data: Path) -> Finding:
    path = data / DATABASE_FILE
    if not path.exists():
        return Finding(name="database", ok=True, what="none yet: it is made at the first start")
    try:
        key = at_rest.opened(data).database_key(path)
        store = await SqliteStore.open(path, installed().collections, key=key)
    except BeiraError as error:
        if error.code == "store.locked":
            return Finding(name="database", ok=True, what="in use: the node runs")
        return Finding(name="database", ok=False, what=error.message, next_step=error.hint)
    try:
        wrong = await store.integrity()
    finally:
        await store.close()
    step = "Stop the node, then: beira node repair. The file is kept." if wrong else ""
    what = "; ".join(wrong[:3]) if wrong else f"{path.stat().st_size / 1e6:.1f} MB, whole"
    return Finding(name="database", ok=not wrong, what=what, next_step=step)
