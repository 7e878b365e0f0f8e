"""The player (Lomuz): a shop's music that never stops.

`records` says what there is, `manifest` what a shop is told of it, `rules` decides what plays next from
what the shop holds and the hour it is; `edge` plays, `cloud` makes and hands out what is played.
"""

from __future__ import annotations

from beira.apps.player import commands
from beira.apps.player.library import intake
from beira.apps.player.records import COLLECTIONS
from beira.apps.player.settings import PlayerSettings
from beira.sdk import App, collection_of, command_of

_HANDLERS = (
    commands.player_play, commands.player_pause, commands.player_skip, commands.player_volume,
    commands.player_announce,
    intake.player_asset_added, intake.player_asset_retry, intake.player_asset_remove,
)  # fmt: skip

app = App(
    name="player",
    title="Lomuz",
    collections=tuple(collection_of(record) for record in COLLECTIONS),
    commands=tuple(command_of(handler) for handler in _HANDLERS),
    settings=PlayerSettings,
    edge="beira.apps.player.edge:edge",
    portal_pages="beira.apps.player.portal_pages:PAGES",
    cloud="beira.apps.player.cloud:cloud",
    cloud_pages="beira.apps.player.media_routes:handlers",
    doctor="beira.apps.player.doctor:diagnose",
    sentences="beira.apps.player:sentences",
    answers={"manifest": "beira.apps.player.cloud:answer_manifest"},
    demo_work="beira.apps.player.demo:fill",
)
