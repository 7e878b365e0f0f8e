"""Structured logs: JSON lines for machines, readable ones for a person at a terminal."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import structlog

QUIET = ("uvicorn", "asyncio", "litestar")


def configure_logs(path: Path | None = None, level: int = logging.INFO) -> None:
    """Log to `path`, or to standard error. Each line carries what is bound to the context, such as
    trace_id and tenant; secrets are never given to a logger."""
    readable = path is None and sys.stderr.isatty()
    plain = structlog.dev.plain_traceback  # never with local variables: they may be secrets
    rendering: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
        if readable
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    if path is not None and not path.parent.exists():
        path.parent.mkdir(parents=True, mode=0o711)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(
            file=path.open("a") if path is not None else sys.stderr
        ),
        cache_logger_on_first_use=False,
    )
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
