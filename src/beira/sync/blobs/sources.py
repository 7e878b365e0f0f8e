"""Where wished blobs may be had by plain HTTP: a cache, a CDN, the cloud's own addresses.

An address that fails is let be for a while, longer each time: one that cannot be reached with all of
its host, one that gave something else alone. A blob whose addresses all failed waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from beira.blobs.port import Source
from beira.kernel.errors import BeiraError, Conflict, Full, TooMany, Unavailable
from beira.sync.put_off import PutOff


class Sources:
    """What apps said of where their wishes are. `steady_s` is a clock that never goes back."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._by_app: dict[str, Source] = {}
        self._known: dict[str, tuple[str, ...]] = {}
        self._off = PutOff(steady_s)

    def give(self, by: str, source: Source | None) -> None:
        """What the app `by` says from now on."""
        self._known.clear()
        self._by_app.pop(by, None)
        if source is not None:
            self._by_app[by] = source

    def of(self, name: str) -> Sequence[str]:
        """All addresses of a blob, the best first. None: the blobs' lane has it."""
        if name not in self._known:
            found = (address for source in self._by_app.values() for address in source(name))
            self._known[name] = tuple(dict.fromkeys(found))
        return self._known[name]

    def ready(self, name: str) -> Sequence[str]:
        """Those that may be tried now."""
        return [a for a in self.of(name) if self._off.is_free(_host(a)) and self._off.is_free(a)]

    def waits(self, name: str) -> bool:
        """Whether it has addresses, and none may be tried now."""
        return bool(self.of(name)) and not self.ready(name)

    def failed(self, address: str, error: BeiraError) -> None:
        """What became of a try. What is of this node's own disk is no fault of the address."""
        if isinstance(error, Unavailable | TooMany):
            self._off.add(_host(address))
        elif not isinstance(error, Full | Conflict):
            self._off.add(address, at_once=0, lasting=error.code == "blob.mismatch")

    def worked(self, address: str) -> None:
        self._off.drop(_host(address))


def _host(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
