"""Recordings kept only where the tenant asked for it: a folder with a limit, oldest gone first."""

from __future__ import annotations

from pathlib import Path

import structlog

from beira.apps.voice.engines.ports import HEARD_HZ, Pcm
from beira.apps.voice.engines.sound import write_wav
from beira.sdk import PrivateFiles

log = structlog.get_logger(__name__)
KEPT_BYTES = 268_435_456
KEPT_FILES = 5_000


class KeptAudio:
    """Utterances as WAV files named by their trace, for the owner's eyes only."""

    def __init__(
        self, folder: Path, files: PrivateFiles | None = None, most_bytes: int = KEPT_BYTES
    ) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._files = files or PrivateFiles()

    def keep(self, trace_id: str, pcm: Pcm) -> None:
        """Write one recording and make room for it; a full disk costs the recording, no more."""
        data = write_wav(pcm.astype("<i2").tobytes(), HEARD_HZ)
        name = "".join(c for c in trace_id if c.isalnum() or c == "-")[:64]
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_room(len(data))
            self._files.write(self._folder / f"{name}.wav", data)
        except OSError as error:
            log.warning("audio.not_kept", why=str(error), trace=trace_id)

    def clear(self) -> None:
        """Forget all; asked when keeping is turned off."""
        for path in self._folder.glob("*.wav"):
            path.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        files = sorted((p.stat().st_mtime, p.stat().st_size, p) for p in self._folder.glob("*.wav"))
        total = sum(s for _, s, _ in files) + size
        while files and (total > self._most_bytes or len(files) >= KEPT_FILES):
            _, gone, path = files.pop(0)
            path.unlink(missing_ok=True)
            total -= gone
