"""Where a program listens. Apart from what serves there, which takes long to load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from beira.identity.private_files import PrivateFiles


@dataclass(frozen=True)
class Listen:
    """Where to listen: loopback unless asked otherwise; TLS 1.3 when certificates are given. `files`
    open the key, if it is one of ours."""

    host: str = "127.0.0.1"
    port: int = 0
    certificate: Path | None = None
    key: Path | None = None
    files: PrivateFiles | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"

    @property
    def is_loopback(self) -> bool:
        return self.host in ("127.0.0.1", "::1", "localhost")
