"""Property tests draw the same examples each time, so that a change is judged by what it changes;
`BEIRA_RANDOM=1` draws others. How long an example takes is the machine's business, not the law's."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "beira",
    deadline=None,
    derandomize="BEIRA_RANDOM" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("beira")

os.environ.setdefault("BEIRA_PLAYER_OUTPUT", "off")
"""Nodes of other stories need no sound; the player's own tests choose theirs."""
