"""How commands show what they have to say, and run what is short."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class _Console:
    """rich's, which takes long to import: this turns into it when something is first shown."""

    def __getattr__(self, name: str) -> Any:
        from rich.console import Console

        self.__class__ = Console  # type: ignore[assignment]
        Console.__init__(self)  # type: ignore[arg-type]
        return getattr(self, name)


console: Console = _Console()  # type: ignore[assignment]


def escape(text: str) -> str:
    """`text` as rich prints it, whatever brackets it holds."""
    from rich.markup import escape as escaped

    return escaped(text)


def print_json(shown: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(shown)).decode())


def asked(work: Coroutine[Any, Any, Any]) -> Any:
    """Run something short, its logs quiet."""
    import asyncio

    from beira.host.logs import configure_logs

    configure_logs(Path(os.devnull))
    return asyncio.run(work)
