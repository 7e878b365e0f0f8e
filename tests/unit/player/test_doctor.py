"""What `beira node doctor` says of the player."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from beira.apps.player.doctor import diagnose


@pytest.mark.skipif(shutil.which("mpv") is None, reason="mpv is not installed (apt install mpv)")
async def test_with_mpv_the_jingle_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEIRA_PLAYER_OUTPUT", "null")
    found = {finding.name: finding for finding in await diagnose(tmp_path)}
    assert all(finding.ok for finding in found.values()), found
    assert "jingle" in found["player"].what and "mpv" in found["mpv"].what


async def test_without_mpv_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = (await diagnose(tmp_path))[0]
    assert not found.ok and "apt install mpv" in found.next_step
