"""Tracing: off by default and free, our ids as OpenTelemetry's, and a plain word when it is missing."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import StatusCode

from beira.host import tracing
from beira.kernel.clock import Stamp
from beira.kernel.errors import Misconfigured
from beira.kernel.record import Row

TRACE = "01a1fbf1-0cf7-7314-9c7a-c84977bcaffa"


def receipt(id: str, trace: object) -> Row:
    stamp = Stamp(1 << 50, 1, "n1")
    return Row.of("receipts", id, "site:s1", {"trace": trace}, {"trace": stamp})


@given(st.uuids() | st.text(max_size=80))
def test_ids_are_valid_and_the_same_everywhere(trace: uuid.UUID | str) -> None:
    number = tracing.trace_number(str(trace))
    assert 0 < number < 1 << 128 and 0 < tracing.span_number(str(trace)) < 1 << 64
    if isinstance(trace, uuid.UUID) and trace.int:
        assert number == trace.int == tracing.trace_number(trace.hex)
        assert tracing.span_number(str(trace)) == tracing.span_number(trace.hex)


def test_nothing_of_opentelemetry_is_loaded_while_it_is_off() -> None:
    program = (
        "import sys, beira.host.tracing as t\n"
        "end = t.begin('x')\n"
        "with t.command('c', 'x') as s, s.child('p'): s.set(ok=True)\n"
        "with t.committing([]): t.shown([])\n"
        "t.pushes().begun('normal', 1, []); end()\n"
        "assert t.command('c', 'x') is t.committing([]) is t.pushes() is t.QUIET\n"
        "assert not [m for m in sys.modules if m.startswith(('opentelemetry', 'google'))]\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], env={}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    "off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {}]
)
def test_the_standard_variables_turn_it_off(
    monkeypatch: pytest.MonkeyPatch, off: dict[str, str]
) -> None:
    if off:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    for name, value in off.items():
        monkeypatch.setenv(name, value)
    tracing.begin("x")()
    assert tracing.command("c", "t") is tracing.QUIET


def test_a_missing_extra_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(Misconfigured) as missing:
        tracing.begin("x")
    assert missing.value.code == "tracing.missing" and "beira[otel]" in missing.value.hint
    assert tracing.command("c", "t") is tracing.QUIET


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ReadableSpan]]:
    """Spans that were exported once tracing has ended; it is on meanwhile."""
    spans: list[ReadableSpan] = []

    class Kept:
        def export(self, batch: list[ReadableSpan]) -> SpanExportResult:
            spans.extend(batch)
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None: ...

        def force_flush(self, timeout_millis: int = 0) -> bool:
            return True

    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", Kept)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9")
    end = tracing.begin("beira-test")
    yield spans
    end()


def test_both_ends_make_one_tree(sent: list[ReadableSpan]) -> None:
    with tracing.command("punch", TRACE) as span:
        with span.child("store.commit"):
            pass
        span.set(ok=False, code="field.invalid")
    pushes = tracing.pushes()
    pushes.begun("normal", 3, [receipt("r1", TRACE), receipt("r2", None)])
    pushes.begun("normal", 9, [])
    pushes.confirmed("normal", 3)
    pushes.cut()
    with pytest.raises(ValueError), tracing.committing([receipt("r1", TRACE)], lane="normal"):
        raise ValueError
    tracing.shown([("receipts", "r1", "site:s1"), ("receipts", "r2", "site:s1")])
    tracing._on.end()  # type: ignore[union-attr]
    spans = {span.name: span for span in sent}
    command = spans["command punch"]
    assert command.context and command.context.trace_id == uuid.UUID(TRACE).int
    assert command.parent is None and command.status.status_code is StatusCode.ERROR
    for name in ("store.commit", "cloud.commit", "portal.feed"):
        part = spans[name]
        assert part.context and part.context.trace_id == command.context.trace_id
        assert part.parent and part.parent.span_id == command.context.span_id, name
    assert spans["cloud.commit"].status.description == "ValueError"
    first, second = (span for span in sent if span.name == "sync.push")
    assert [link.context.span_id for link in first.links] == [command.context.span_id]
    assert first.context and first.context.trace_id != command.context.trace_id
    assert (first.status.status_code, second.status.description) == (StatusCode.UNSET, "cut")


def test_a_batch_after_days_offline_makes_no_flood(sent: list[ReadableSpan]) -> None:
    rows = [receipt(f"r{n}", uuid.uuid4().hex) for n in range(3 * tracing.RECENT)]
    with tracing.committing(rows):
        pass
    tracing.pushes().begun("normal", 1, rows)
    assert tracing._on is not None
    assert len(tracing._on._recent) == tracing.RECENT
    tracing._on.end()
    assert len(sent) == tracing.TRACES_PER_BATCH
