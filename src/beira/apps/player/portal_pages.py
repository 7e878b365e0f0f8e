"""The pages of the player: the library, the programme, the shops, what was played; on a node its own."""

from __future__ import annotations

from pathlib import Path

from beira.apps.player import (
    portal_campaigns,
    portal_grid,
    portal_here,
    portal_library,
    portal_playlists,
    portal_plays,
    portal_preview,
    portal_shops,
    portal_urgent,
)
from beira.apps.player.portal_words import DONE, WORDS
from beira.sdk import MenuItem, Pages

HERE = Path(__file__).parent
EVERYBODY = frozenset({"owner", "member", "guest"})
PAGES = Pages(
    name="player",
    pages=(
        *portal_shops.PAGES, *portal_library.PAGES, *portal_playlists.PAGES, *portal_grid.PAGES,
        *portal_campaigns.PAGES, *portal_urgent.PAGES, *portal_preview.PAGES, *portal_plays.PAGES,
        *portal_here.PAGES,
    ),
    templates=HERE / "templates" / "portal",
    static=HERE / "static",
    menu=(
        MenuItem("/music", "Música", "Music", "music", EVERYBODY, "cloud"),
        MenuItem("/player", "Música", "Music", "music", EVERYBODY, "node"),
    ),
    words=WORDS,
    done=DONE,
)  # fmt: skip
