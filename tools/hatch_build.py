"""Put the portal's scripts and fonts into every wheel, fetched and verified as it is built.

Without this a wheel built from a clean clone would carry a portal without its scripts: they are
git-ignored, since they come from the npm registry. A source archive carries them along, so that a
wheel built from it needs no network.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AssetsHook(BuildHookInterface[Any]):
    """Runs tools/assets.py before files are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fail the build with the next step when the assets cannot be had."""
        if version == "editable":
            return  # `make run` fetches them itself, and an editable install must work offline
        script = Path(self.root) / "tools" / "assets.py"
        spec = importlib.util.spec_from_file_location("beira_assets", script)
        if spec is None or spec.loader is None:
            raise RuntimeError(f"{script} is missing: build from a complete source tree")
        assets = importlib.util.module_from_spec(spec)
        sys.modules["beira_assets"] = assets  # dataclasses look their module up there
        spec.loader.exec_module(assets)
        try:
            assets.ensure()
        except assets.AssetError as error:
            raise RuntimeError(f"{error}\n  next: {error.hint}") from error
