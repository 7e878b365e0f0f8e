"""How often a node tells the cloud how it is, and how long it is then taken for there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from beira.kernel import limits
from beira.kernel.system import is_online
from beira.sync.node.telling import Tellings

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_the_first_look_is_news() -> None:
    tellings = Tellings()
    assert tellings.due(0.0) and tellings.is_news({"pending": {}}, 0.0)
    assert not tellings.due(limits.STATUS_EVERY_S - 1)


def test_what_has_not_changed_is_told_seldom() -> None:
    tellings, told = Tellings(), []
    for second in range(0, 3_600, 5):
        if tellings.due(second) and tellings.is_news({"pending": {}, "rtt_ms": second}, second):
            told.append(second)
    gaps = {b - a for a, b in pairwise(told)}
    assert gaps == {limits.STATUS_CALM_EVERY_S}


def test_what_has_changed_is_told_at_the_next_look() -> None:
    tellings = Tellings()
    tellings.is_news({"last_error": "", "disk_free_bytes": 5}, 0.0)
    assert not tellings.is_news({"last_error": "", "disk_free_bytes": 4}, 15.0)
    assert tellings.is_news({"last_error": "no route", "disk_free_bytes": 4}, 30.0)
    assert tellings.is_news({"last_error": "", "disk_free_bytes": 4}, 45.0)


def test_a_calm_node_stays_online() -> None:
    """Two tellings may be lost, and still it is shown as there."""
    assert limits.STATUS_FRESH_S > 2 * limits.STATUS_CALM_EVERY_S


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"online": True, "seen_at": "2026-11-29T11:59:00Z"}, True),
        ({"online": False, "seen_at": "2026-11-29T11:59:00Z"}, False),
        ({"online": True, "seen_at": NOW - timedelta(seconds=limits.STATUS_FRESH_S)}, False),
        ({"online": True}, False),
        ({}, False),
    ],
)
def test_who_was_heard_of_lately_is_online(status: dict[str, object], expected: bool) -> None:
    assert is_online(status, NOW) is expected
