"""The files of the manifest that are whole on this disk. Pure but for what is added and discarded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from beira.apps.player.manifest import AssetEntry

MOST_CHANGES = 10_000
"""Told one by one; whoever is further behind looks at all again."""


class OnDisk:
    """Says whether an asset's file can be played, and what has changed since one last asked: so what
    can be played next is known without going through a whole library."""

    def __init__(self, files: Iterable[str] = ()) -> None:
        self._files = set(files)
        self._changes: list[str] = []
        self._before = 0

    def __call__(self, asset: AssetEntry) -> bool:
        return asset.file in self._files

    def __contains__(self, file: object) -> bool:
        return file in self._files

    def __len__(self) -> int:
        return len(self._files)

    def add(self, file: str) -> None:
        if file not in self._files:
            self._files.add(file)
            self._changed(file)

    def discard(self, file: str) -> None:
        """It is gone, or not to be relied upon."""
        if file in self._files:
            self._files.discard(file)
            self._changed(file)

    def _changed(self, file: str) -> None:
        self._changes.append(file)
        if len(self._changes) > MOST_CHANGES:
            gone = MOST_CHANGES // 2
            del self._changes[:gone]
            self._before += gone

    @property
    def count(self) -> int:
        """Of changes until now."""
        return self._before + len(self._changes)

    def since(self, count: int) -> Sequence[str] | None:
        """The files that changed after so many changes; None: too many to tell."""
        if count < self._before:
            return None
        return self._changes[count - self._before :]
