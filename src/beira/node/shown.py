"""A node's report as people read it in a terminal: whole numbers, names, and no more than matters."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.table import Table

from beira.node.report import NodeStatusReport

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


def table(report: NodeStatusReport) -> Table:
    """What waits, by lane; the most urgent first."""
    place = f", {report.site_name}" if report.site_name else ""
    made = Table(title=f"{report.name or report.node}{place}", title_justify="left")
    for column in ("lane", "waiting", "oldest", "in time", "late", "share in time"):
        made.add_column(column, justify="left" if column == "lane" else "right")
    for name in ("critical", "important", "normal"):
        lane = report.lanes.get(name)
        if lane is None:
            continue
        batches = lane.met + lane.late
        share = f"{100 * lane.met / batches:.1f} %" if batches else "–"
        oldest = duration(lane.oldest_s) if lane.waiting else "–"
        counts = (f"{n:,}" for n in (lane.met, lane.late))
        made.add_row(name, f"{lane.waiting:,}", oldest, *counts, share)
    return made


def lines(report: NodeStatusReport) -> list[str]:
    """The rest, a line each."""
    link = f"connected by {report.link}" if report.connected else "not connected"
    rtt = "" if report.rtt_ms is None else f"; round trip {max(1, round(report.rtt_ms))} ms"
    clock = (
        "" if abs(report.skew_ms) < 1_000 else f"; clock off by {duration(report.skew_ms / 1000)}"
    )
    found = [f"Link: {link}{rtt}{clock}", f"Sent: {size(report.bytes_sent)}{_ratio(report)}"]
    held = [f"{', '.join(report.held)} waits, by the calendar"] if report.held else []
    if report.share < 1:
        held.append(f"up to {100 * report.share:.0f} % of the link")
    held += ["metered link"] * report.metered + ["low battery"] * report.low_battery
    if held:
        found.append("Now: " + "; ".join(held))
    if report.checked_ms is not None:
        mended = f"; {report.mended:,} rows mended" if report.mended else "; nothing to mend"
        found.append(f"Compared with the cloud: {_moment(report.checked_ms)}{mended}")
    return found


def duration(seconds: float) -> str:
    """45 s, 3 min, 2 h, 4 d: the largest unit, rounded down."""
    seconds = abs(seconds)
    for unit_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{int(seconds)} s"


def size(size_bytes: float) -> str:
    """950 B, 12.5 kB, 3.1 MB: the largest unit, in thousands."""
    if size_bytes < 1_000:
        return f"{size_bytes:.0f} B"
    for unit in ("kB", "MB", "GB"):
        size_bytes /= 1_000
        if size_bytes < 1_000:
            return f"{size_bytes:.1f} {unit}"
    return f"{size_bytes / 1_000:.1f} TB"


def _ratio(report: NodeStatusReport) -> str:
    if not report.bytes_raw:
        return ""
    return f", {100 * report.bytes_sent / report.bytes_raw:.0f} % of {size(report.bytes_raw)}"


def _moment(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
