"""What the simulated company records, as three releases of its app declare it."""

from __future__ import annotations

from typing import Annotated

from beira.kernel.app import App, Catalogue, catalogue
from beira.kernel.collection import (
    BOTH,
    CRITICAL,
    DOWN,
    IMPORTANT,
    NORMAL,
    SITE,
    TENANT,
    UP,
    Personal,
    Pseudonym,
    Withheld,
    collection,
    collection_of,
)
from beira.kernel.command import Context, command, command_of
from beira.kernel.record import Fact, Record, State


@collection("notes", flow=UP, lane=IMPORTANT)
class Note(Fact):
    text: Annotated[str, Personal]
    turn: int = 0


@collection("visits", flow=UP, lane=IMPORTANT)
class Visit(Fact):
    who: Annotated[str, Pseudonym]
    seconds: int
    remark: Annotated[str, Withheld] = ""


@collection("alarms", flow=UP, lane=CRITICAL)
class Alarm(Fact):
    text: str
    turn: int = 0


@collection("logs", flow=UP, lane=NORMAL)
class Log(Fact):
    text: str
    turn: int = 0


@collection("goods", flow=BOTH, lane=IMPORTANT, partition=TENANT)
class Good(State):
    name: str
    price: int = 0
    place: str = ""


@collection("shelves", flow=BOTH, lane=NORMAL, partition=SITE)
class Shelf(State):
    name: str
    price: int = 0


@collection("rules", flow=DOWN, lane=IMPORTANT, partition=TENANT)
class Rule(State):
    text: str


@collection("goods", flow=BOTH, lane=IMPORTANT, partition=TENANT)
class OlderGood(State):
    name: str
    price: int = 0


@collection("goods", flow=BOTH, lane=IMPORTANT, partition=TENANT)
class NewerGood(State):
    name: str
    price: int = 0
    place: str = ""
    colour: str = "white"


@collection("extras", flow=UP, lane=IMPORTANT)
class Extra(Fact):
    """Only the newest release has these: a cloud of an older one puts them in quarantine."""

    text: str


@command
async def note(ctx: Context, text: str) -> Note:
    return ctx.put(Note(text=text))


def release(*records: type[Record]) -> Catalogue:
    return catalogue(
        [
            App(
                name="world",
                title="World",
                collections=tuple(collection_of(record) for record in records),
                commands=(command_of(note),),
            )
        ]
    )


TODAY = release(Note, Visit, Alarm, Log, Good, Shelf, Rule)
OLDER = release(Note, Visit, Alarm, Log, OlderGood, Shelf)
NEWER = release(Note, Visit, Alarm, Log, NewerGood, Shelf, Rule, Extra)
