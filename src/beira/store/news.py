"""Telling those who listen that rows changed: the same in every store."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from beira.kernel import limits
from beira.kernel.errors import Full
from beira.store.port import News

_log = structlog.get_logger(__name__)


class Listeners:
    """Who subscribed to a store. One that fails is logged and does not hurt the others."""

    def __init__(self) -> None:
        self._listeners: dict[object, Callable[[News], None]] = {}

    def add(self, listener: Callable[[News], None]) -> Callable[[], None]:
        """Returns what ends the subscription. Raises Full `listeners.full`."""
        if len(self._listeners) >= limits.SUBSCRIBERS:
            raise Full(
                f"{limits.SUBSCRIBERS} already listen to this store.",
                code="listeners.full",
                hint="End a subscription before starting another.",
            )
        key = object()
        self._listeners[key] = listener

        def end() -> None:
            self._listeners.pop(key, None)

        return end

    def tell(self, news: News) -> None:
        """Call every listener, in the order they came."""
        for listener in list(self._listeners.values()):
            try:
                listener(news)
            except Exception:
                _log.exception("a listener of the store failed", listener=repr(listener))
