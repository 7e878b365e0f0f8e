"""A node's report in a terminal: round numbers, names, and what to do."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from beira import cli
from beira.node import asking
from beira.node.report import LaneStatus, NodeStatusReport
from beira.node.shown import duration, lines, size, table


def report(**more: Any) -> NodeStatusReport:
    given: dict[str, Any] = {
        "node": "n-1", "name": "Balcão 1", "tenant": "t-1", "site": "s-1", "site_name": "Centro",
        "release": "1", "connected": True, "link": "websocket", "rtt_ms": 5.035417000000001,
        "last_sync_ms": 0, "skew_ms": 3, "last_error": "", "next_step": "", "stopped": False,
        "lanes": {"normal": LaneStatus(waiting=1_234, oldest_s=130, met=99, late=1)},
        "bytes_raw": 48_210_000, "bytes_sent": 5_120_000, **more,
    }  # fmt: skip
    return NodeStatusReport(**given)


def text(given: NodeStatusReport) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(given))
    console.print("\n".join(lines(given)), soft_wrap=True)
    return console.export_text()


def test_numbers_are_round_and_names_said() -> None:
    shown = text(report())
    assert "round trip 5 ms" in shown and "5.03" not in shown
    assert "Balcão 1, Centro" in shown and "s-1" not in shown and "t-1" not in shown
    assert "1,234" in shown and "2 min" in shown and "99.0 %" in shown
    assert "5.1 MB, 11 % of 48.2 MB" in shown
    assert "clock" not in shown and "Now" not in shown


def test_what_holds_sync_back_is_said() -> None:
    given = report(
        held=["normal"], share=0.3, metered=True, low_battery=True, connected=False, skew_ms=-90_000,
        checked_ms=1_790_000_000_000, mended=2,
    )  # fmt: skip
    shown = text(given)
    assert (
        "normal waits, by the calendar; up to 30 % of the link; metered link; low battery" in shown
    )
    assert "not connected" in shown and "clock off by 1 min" in shown
    assert "2 rows mended" in shown


def test_units() -> None:
    assert [duration(n) for n in (0, 59, 60, 7_200, 90_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "1 d",
    ]
    assert [size(n) for n in (0, 999, 1_000, 5 * 10**6, 3 * 10**12)] == [
        "0 B", "999 B", "1.0 kB", "5.0 MB", "3.0 TB",
    ]  # fmt: skip


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    async def answered(address: str) -> NodeStatusReport:
        assert address == "http://n"
        return report(last_error="Cut.", next_step="Look at the modem.")

    monkeypatch.setattr(asking, "status", answered)
    options = ["--json"] if as_json else []
    ran = CliRunner().invoke(cli.app, ["node", "status", "--node", "http://n", *options])
    assert ran.exit_code == 0
    assert ('"site_name": "Centro"' if as_json else "Look at the modem.") in ran.output
