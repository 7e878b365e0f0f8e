"""Lists of assets that people change a piece at a time: what two add in one moment is both there."""

from __future__ import annotations

from collections.abc import Callable

from beira.apps.player.records import Campaign, Playlist
from beira.sdk import Conflict, View, collection_of, one_row, whole_of

TRIES = 8


async def change_list(
    view: View,
    kind: type[Playlist | Campaign],
    id: str,
    change: Callable[[list[str]], list[str]],
    most: int,
) -> None:
    """Have `change` make a new list of the one that is there, again if somebody else was first.

    Raises Conflict `player.playlist_full` beyond `most`, `player.list_moved` if it never got its turn,
    and what `change` raises.
    """
    collection = collection_of(kind).name
    mark = f"player.list:{collection}:{id}"
    for _ in range(TRIES):
        turn = (await view.host.store.marks(mark)).get(mark)
        row = await one_row(view, collection, id)
        assets = change([str(one) for one in row["assets"] or ()])
        if len(assets) > most:
            raise Conflict(f"It holds {most} at most.", code="player.playlist_full")
        try:
            marks, expect = {mark: (turn or 0) + 1}, {mark: turn}
            async with view.host.writing(marks=marks, expect=expect) as ctx:
                ctx.patch(kind, id, assets=assets)
        except Conflict as error:
            if error.code != "marks.moved":
                raise
        else:
            return
    raise _moved()


def taken(view: View, assets: list[str]) -> tuple[str, list[str]]:
    """The asset that the form names, and the list without it. Raises Conflict if it has been moved."""
    at = whole_of(view.form.get("at", ""))
    if at >= len(assets) or assets[at] != view.form.get("asset"):
        raise _moved()
    return assets[at], assets[:at] + assets[at + 1 :]


def _moved() -> Conflict:
    return Conflict(
        "The list was changed meanwhile.", code="player.list_moved", hint="Look at it again."
    )
