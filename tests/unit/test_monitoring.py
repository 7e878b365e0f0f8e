"""Metrics, their documentation, the dashboard and the alert rules name the same things."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

import beira.api.telemetry
import beira.sync

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "packaging" / "grafana" / "beira.json"
RULES = ROOT / "packaging" / "grafana" / "alerts.yml"
HOWTO = ROOT / "docs" / "howto" / "monitoring.md"
NAME = re.compile(r"\bbeira_[a-z_]+\b")
PANELS = {
    "Online nodes", "Pending by lane", "Oldest unsent change", "Deadline share", "Commit rate",
    "Quarantined", "Conflicts and mended rows", "Bytes sent by nodes", "HTTP latency",
}  # fmt: skip

for _module in pkgutil.iter_modules(beira.sync.__path__):
    if _module.name.endswith("metrics"):
        importlib.import_module(f"beira.sync.{_module.name}")
assert beira.api.telemetry.REQUESTS


def families() -> dict[str, set[str]]:
    """What is exposed: by the name in documents, the names of its samples."""
    found: dict[str, set[str]] = {}
    for family in REGISTRY.collect():
        if family.name.startswith("beira_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            endings = ("_bucket", "_count", "_sum") if family.type == "histogram" else ("",)
            found[name] = {name + ending for ending in endings}
    return found


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    text = HOWTO.read_text()
    types = {family.name: family.type for family in REGISTRY.collect()}
    for name in families():
        row = re.search(rf"^\| `{name}` \| (\w+) \|", text, re.MULTILINE)
        assert row, f"{name} is not in {HOWTO.name}"
        assert row[1] == types[name.removesuffix("_total") if row[1] == "counter" else name]


@pytest.mark.parametrize("path", [DASHBOARD, RULES, HOWTO])
def test_every_metric_named_is_there(path: Path) -> None:
    known = {sample for names in families().values() for sample in names} | set(families())
    named = set(NAME.findall(path.read_text()))
    assert named and named - known == set()


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text())
    assert board["schemaVersion"] >= 36 and board["uid"] and board["title"]
    assert {panel["title"] for panel in board["panels"]} >= PANELS
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    variables = {item["name"] for item in board["templating"]["list"]}
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["datasource"]["uid"] == "${datasource}"
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)) and all(target["expr"] for target in panel["targets"])
    used = {name for text in expressions() for name in re.findall(r"\$(\w+)", text)}
    assert {name for name in used if not name.startswith("__")} <= variables


def test_expressions_are_balanced_and_use_labels_that_are_there() -> None:
    labels = {"lane", "tenant", "met", "route", "status", "direction", "le", "instance"}
    texts = [*expressions(), *re.findall(r"expr: (.+)", RULES.read_text())]
    for text in texts:
        assert text.count("(") == text.count(")") or text.endswith("|"), text
        assert text.count("{") == text.count("}"), text
        for group in re.findall(r"by \(([^)]*)\)", text):
            assert {name.strip() for name in group.split(",")} <= labels, text


def test_every_alert_says_what_to_do() -> None:
    names = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert len(names) >= 8
    assert all(name in HOWTO.read_text() for name in names)


def test_labels_are_those_documented_and_never_a_node_or_a_person() -> None:
    """Fleets have thousands of nodes: a series for each would be the monitoring's end."""
    rows = re.findall(r"^\| `(beira_\w+)` \| \w+ \| ([^|]*)\|", HOWTO.read_text(), re.MULTILINE)
    told = {name: {x.strip() for x in given.split(",")} - {""} for name, given in rows}
    checked = 0
    for collector in set(REGISTRY._names_to_collectors.values()):
        name = getattr(collector, "_name", "")
        if name.startswith("beira_"):
            labels = set(collector._labelnames)  # type: ignore[attr-defined]
            assert not labels & {"node", "site", "person", "address"}, name
            assert labels == told.get(name, told.get(f"{name}_total")), name
            checked += 1
    assert checked >= 20
