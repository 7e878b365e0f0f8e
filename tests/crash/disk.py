"""A disk that loses power: what SQLite did to it, in order, and every state that could be found after.

`Recorder` is a VFS that passes everything on and writes it down. `Disk` plays the record and says, at
any moment of it, what a power cut may leave: of each file what was synced, and of what was not any
part, in any order, torn at the sectors of 512 bytes; a name that was made or taken away may or may not
have been, until its folder was synced.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import apsw

SECTOR_BYTES = 512
_SYNCED_WITH_FOLDER = ("-journal", "-wal")


@dataclass(frozen=True)
class Event:
    """One thing done to the disk (or a note of the test's own, `what` being `note`)."""

    what: str
    name: str = ""
    at: int = 0
    data: bytes = b""


class Recorder(apsw.VFS):
    """Passes on to SQLite's own, and records. Below the encryption: what it sees is what lies on the
    disk. Open with the VFS `name`. There is one in a process, for ever: SQLite keeps a layer upon it."""

    name = "multipleciphers-recorder"

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._known: set[str] = set()
        super().__init__("recorder", "unix")

    def forget(self) -> None:
        """A new record, of another disk."""
        self.events.clear()
        self._known.clear()

    def note(self, text: str) -> None:
        self.events.append(Event("note", text))

    def sync_folder(self, folder: Path) -> None:
        """What was made there without SQLite is noticed now."""
        for path in folder.iterdir():
            if path.suffix != ".lock":
                self.created(path.name)
        self.events.append(Event("sync folder"))

    def created(self, name: str) -> None:
        if name not in self._known:
            self._known.add(name)
            self.events.append(Event("create", name))

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _Recorded(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._known.discard(Path(filename).name)
        self.events.append(Event("delete", Path(filename).name))
        if syncdir:
            self.events.append(Event("sync folder"))


class _Recorded(apsw.VFSFile):
    def __init__(self, vfs: Recorder, name: Any, flags: list[int]) -> None:
        filename = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._events, self._name = vfs.events, Path(filename or "temporary").name
        super().__init__("unix", name, flags)
        vfs.created(self._name)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._events.append(Event("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self._events.append(Event("truncate", self._name, size))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._events.append(Event("sync", self._name))


@cache
def recorder() -> Recorder:
    """The one recorder."""
    return Recorder()


@dataclass
class _File:
    """One file: its content as synced, and what was done to it since."""

    synced: bytearray = field(default_factory=bytearray)
    since: list[Event] = field(default_factory=list)
    named: bool = False
    """Whether its name is durable."""


class Disk:
    """The state of a folder at one moment of a record."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._gone: dict[str, _File] = {}
        """Files whose name was taken away, and may come back."""

    def play(self, event: Event) -> None:
        """Do what was done."""
        _PLAY.get(event.what, lambda disk, event: None)(self, event)

    def _create(self, event: Event) -> None:
        self._files[event.name] = _File()

    def _change(self, event: Event) -> None:
        self._files[event.name].since.append(event)

    def _delete(self, event: Event) -> None:
        file = self._files.pop(event.name)
        if file.named:
            self._gone.setdefault(event.name, file)

    def _sync(self, event: Event) -> None:
        file = self._files[event.name]
        for change in file.since:
            _apply(file.synced, change)
        file.since.clear()
        if event.name.endswith(_SYNCED_WITH_FOLDER) and not file.named:
            self._sync_folder(event)  # SQLite does so at the first sync of a journal

    def _sync_folder(self, event: Event) -> None:
        self._gone.clear()
        for file in self._files.values():
            file.named = True

    def after_a_cut(self, dice: random.Random, folder: Path) -> None:
        """Write to `folder` what one power cut at this moment may leave."""
        folder.mkdir()
        for name, file in self._gone.items():
            if dice.random() < 0.5:
                (folder / name).write_bytes(_torn(file, dice))
        for name, file in self._files.items():
            if name.endswith("-shm") or name == "temporary":
                continue
            if file.named or dice.random() < 0.5:
                (folder / name).write_bytes(_torn(file, dice))


_PLAY: dict[str, Callable[[Disk, Event], None]] = {
    "create": Disk._create,
    "write": Disk._change,
    "truncate": Disk._change,
    "delete": Disk._delete,
    "sync": Disk._sync,
    "sync folder": Disk._sync_folder,
}


def _apply(content: bytearray, change: Event) -> None:
    if change.what == "truncate":
        del content[change.at :]
        content.extend(bytes(change.at - len(content)))
        return
    end = change.at + len(change.data)
    content.extend(bytes(max(0, end - len(content))))
    content[change.at : end] = change.data


def _torn(file: _File, dice: random.Random) -> bytes:
    """The content with a part of what was not synced: nothing of it, all, or some, by sectors."""
    content = bytearray(file.synced)
    share = dice.choice((0.0, 0.5, 0.9, 1.0))
    for change in file.since:
        if change.what == "truncate":
            if dice.random() < share:
                _apply(content, change)
            continue
        torn, kept = dice.random() < 0.5, dice.random() < share
        for at in range(0, len(change.data), SECTOR_BYTES):
            if torn:
                kept = dice.random() < share
            if kept:
                piece = change.data[at : at + SECTOR_BYTES]
                _apply(content, Event("write", change.name, change.at + at, piece))
    return bytes(content)
