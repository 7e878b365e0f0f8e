"""A trace from a node's command to the cloud's commit and the page that shows it, in OpenTelemetry.

Off unless the standard OTEL_* variables name where spans go; then nothing of OpenTelemetry is loaded
and every call here is a no-op. Nothing is added to the wire: a command's trace id is in its receipt
(and in what an app writes with it), and the id of its span follows from that, so that the cloud's
span is its child without being told.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import structlog

from beira.kernel import limits
from beira.kernel.errors import Misconfigured
from beira.kernel.record import Row

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext

log = structlog.get_logger(__name__)
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
TRACES_PER_BATCH = limits.TRACES_PER_BATCH
"""Commands of one batch that get spans of their own; a batch after days offline has thousands."""
RECENT = limits.TRACES_RECENT
"""Records whose trace is remembered until a page was told of them."""
TRACE_FIELD = "trace"


class Quiet:
    """A span while tracing is off."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def child(self, name: str) -> Quiet:
        return self

    def set(self, **attributes: str | int | bool) -> None:
        """Attributes of what became of it."""

    def begun(self, lane: str, upto: int, rows: Iterable[Row]) -> None:
        """A batch goes out."""

    def confirmed(self, lane: str, upto: int) -> None:
        """The cloud has a lane up to `upto`."""

    def cut(self) -> None:
        """The link is gone: what was not confirmed goes out again."""


QUIET = Quiet()
_on: _Tracing | None = None


def command(name: str, trace: str) -> Quiet:
    """The span of a command, for a `with`; `child` gives one for a part of it."""
    return QUIET if _on is None else _Command(_on, name, trace)


def committing(rows: Iterable[Row], **attributes: str | int) -> Quiet:
    """For a `with` around the cloud's commit of a batch: a span for each command it holds anything of."""
    return QUIET if _on is None else _Commit(_on, rows, attributes)


def pushes() -> Quiet:
    """What keeps the spans of one conversation's batches."""
    return QUIET if _on is None else _Pushes(_on)


def shown(rows: Iterable[tuple[str, str, str]]) -> None:
    """An open page hears of these records (collection, id, partition)."""
    if _on is not None:
        _on.shown(rows)


def begin(service: str) -> Callable[[], None]:
    """Turn tracing on if the environment says so; the returned function sends what is left and ends
    it (it may take seconds). `service` is the name of the program, unless OTEL_SERVICE_NAME is set.

    Raises: Misconfigured `tracing.missing` where the extra is not installed.
    """
    global _on
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    none = os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "none"
    if _on is not None or disabled or none or not any(os.environ.get(n) for n in ENDPOINTS):
        return lambda: None
    try:
        _on = started = _Tracing(service)
    except ImportError as error:
        raise Misconfigured(
            f"Tracing is asked for by OTEL_EXPORTER_OTLP_ENDPOINT, but {error.name} is missing.",
            code="tracing.missing",
            hint="pip install 'beira[otel]', or unset the variable.",
        ) from None
    log.info("tracing.on", service=service)
    return started.end


def trace_number(trace: str) -> int:
    """Our trace id (a UUID, 32 hex digits, or any text) as the 128 bits of OpenTelemetry's, never 0."""
    plain = trace.replace("-", "")
    try:
        number = int(plain, 16) if len(plain) == 32 else 0
    except ValueError:
        number = 0
    return number or _digest(trace, 16)


def span_number(trace: str) -> int:
    """The id of a command's own span, the same wherever it is worked out."""
    return _digest(f"{trace_number(trace):032x}", 8)


def _digest(text: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest()) or 1


class _Tracing:
    """OpenTelemetry, loaded."""

    def __init__(self, service: str) -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        wanted: ContextVar[tuple[int, int] | None] = ContextVar("beira_span", default=None)

        class Ids(RandomIdGenerator):
            """Random, but for the span of a command: its ids follow from its trace."""

            def generate_trace_id(self) -> int:
                given = wanted.get()
                return given[0] if given else super().generate_trace_id()

            def generate_span_id(self) -> int:
                given = wanted.get()
                return given[1] if given else super().generate_span_id()

        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
        self._provider: TracerProvider = TracerProvider(
            resource=Resource.create(named), id_generator=Ids(), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("beira")
        self._api = trace
        self._nowhere = Context()
        self._wanted = wanted
        self._recent: OrderedDict[tuple[str, str], str] = OrderedDict()

    def root(self, name: str, trace: str) -> Span:
        token = self._wanted.set((trace_number(trace), span_number(trace)))
        try:
            return self._tracer.start_span(name, context=self._nowhere)
        finally:
            self._wanted.reset(token)

    def of_command(self, trace: str) -> SpanContext:
        """Where the span of a command is, whichever program made it."""
        sampled = self._api.TraceFlags(self._api.TraceFlags.SAMPLED)
        return self._api.SpanContext(
            trace_number(trace), span_number(trace), is_remote=True, trace_flags=sampled
        )

    def under(self, parent: SpanContext, name: str) -> Span:
        remote = self._api.NonRecordingSpan(parent)
        return self._tracer.start_span(name, context=self._api.set_span_in_context(remote))

    def linked(self, name: str, traces: Iterable[str]) -> Span:
        links = [self._api.Link(self.of_command(trace)) for trace in traces]
        return self._tracer.start_span(name, context=self._nowhere, links=links)

    def failed(self, span: Span, why: str) -> None:
        span.set_status(self._api.Status(self._api.StatusCode.ERROR, why))

    def remember(self, rows: Iterable[Row]) -> list[str]:
        """The traces of the rows, each once; which record has which is kept for pages."""
        found: dict[str, None] = {}
        for row in rows:
            trace = _trace_of(row)
            if trace:
                if len(found) < TRACES_PER_BATCH:
                    found[trace] = None
                self._recent[row.collection, row.id] = trace
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return list(found)

    def shown(self, rows: Iterable[tuple[str, str, str]]) -> None:
        traces = {self._recent.get((collection, id), "") for collection, id, _ in rows}
        for trace in traces - {""}:
            self.under(self.of_command(trace), "portal.feed").end()

    def end(self) -> None:
        global _on
        _on = None
        self._provider.shutdown()


class _Command(Quiet):
    def __init__(self, tracing: _Tracing, name: str, trace: str) -> None:
        self._tracing = tracing
        self._span = tracing.root(f"command {name}", trace)
        self._span.set_attribute("beira.command", name)

    def child(self, name: str) -> Quiet:
        return _Part(self._tracing, self._tracing.under(self._span.get_span_context(), name))

    def set(self, **attributes: str | int | bool) -> None:
        for name, value in attributes.items():
            self._span.set_attribute(f"beira.{name}", value)
        if attributes.get("ok") is False:
            self._tracing.failed(self._span, str(attributes.get("code", "")))

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._tracing.failed(self._span, type(error[1]).__name__)
        self._span.end()


class _Part(Quiet):
    def __init__(self, tracing: _Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._tracing.failed(self._span, type(error[1]).__name__)
        self._span.end()


class _Commit(Quiet):
    def __init__(
        self, tracing: _Tracing, rows: Iterable[Row], attributes: dict[str, str | int]
    ) -> None:
        self._tracing = tracing
        traces = tracing.remember(rows)
        self._spans = [tracing.under(tracing.of_command(t), "cloud.commit") for t in traces]
        for span in self._spans:
            span.set_attributes({f"beira.{name}": value for name, value in attributes.items()})

    def __exit__(self, *error: object) -> None:
        for span in self._spans:
            if error[0] is not None:
                self._tracing.failed(span, type(error[1]).__name__)
            span.end()


class _Pushes(Quiet):
    def __init__(self, tracing: _Tracing) -> None:
        self._tracing = tracing
        self._open: OrderedDict[tuple[str, int], Any] = OrderedDict()

    def begun(self, lane: str, upto: int, rows: Iterable[Row]) -> None:
        traces: dict[str, None] = {}
        count = 0
        for row in rows:
            count += 1
            trace = _trace_of(row)
            if trace and len(traces) < TRACES_PER_BATCH:
                traces[trace] = None
        span = self._tracing.linked("sync.push", traces)
        span.set_attributes({"beira.lane": lane, "beira.rows": count})
        self._open[lane, upto] = span
        while len(self._open) > limits.TRACED_PUSHES:
            self._open.popitem(last=False)

    def confirmed(self, lane: str, upto: int) -> None:
        for key in [key for key in self._open if key[0] == lane and key[1] <= upto]:
            self._open.pop(key).end()

    def cut(self) -> None:
        for span in self._open.values():
            self._tracing.failed(span, "cut")
            span.end()
        self._open.clear()


def _trace_of(row: Row) -> str:
    trace = row.fields.get(TRACE_FIELD)
    return trace if isinstance(trace, str) else ""
