"""Finding whom and what a command means, by id or by name; and everything of a kind."""

from __future__ import annotations

from typing import TypeVar

from beira.apps.voice.language import fold, tongue
from beira.apps.voice.language.names import Names
from beira.apps.voice.language.names import people as people_names
from beira.apps.voice.language.names import products as product_names
from beira.apps.voice.records import Person, Product, Punch, PunchCorrection
from beira.apps.voice.rules import Worked, effective
from beira.sdk import Conflict, Context, NotFound, Order, Query, State, collection_of, where

K = TypeVar("K", bound=State)
PAGE_ROWS = 1_000
MOST_ROWS = 20_000
PUNCHES_LOOKED_AT = 200


async def every(ctx: Context, kind: type[K]) -> list[K]:
    """All records of a kind that may be seen, at most MOST_ROWS."""
    declared = collection_of(kind)
    found: list[K] = []
    read = 0
    while read < MOST_ROWS:
        page = await ctx.query(
            Query(collection=declared.name, order=(Order("id"),), limit=PAGE_ROWS, offset=read)
        )
        read += len(page.rows)
        found += declared.decode_whole(page.rows)  # type: ignore[arg-type]
        if len(page.rows) < PAGE_ROWS:
            break
    return found


async def the_person(ctx: Context, named: str) -> Person:
    """Somebody by id or by a name that only one has.

    Raises: NotFound `person.unknown` with the closest names, Conflict `person.ambiguous`.
    """
    by_id = await ctx.get(Person, named)
    if by_id is not None:
        return by_id
    everyone = [p for p in await every(ctx, Person) if p.active]
    names = people_names([(p.id, p.name, p.also_said) for p in everyone], tongue("pt-BR"))
    id = _one(names, named, "person")
    return next(p for p in everyone if p.id == id)


async def the_product(ctx: Context, named: str) -> Product:
    """A product by id, barcode or a name that only one has. Raises like `the_person`."""
    by_id = await ctx.get(Product, named)
    if by_id is not None:
        return by_id
    if named.isdigit() and (found := await ctx.find(Product, where(barcode=named), limit=1)):
        return found[0]
    sold = [p for p in await every(ctx, Product) if p.active]
    names = product_names([(p.id, p.name, p.also_said) for p in sold], tongue("pt-BR"))
    id = _one(names, named, "product")
    return next(p for p in sold if p.id == id)


def _one(names: Names, named: str, kind: str) -> str:
    said = fold(tongue("pt-BR").spell(named))
    ids = names.find(said)
    if len(ids) == 1:
        return ids[0]
    if ids:
        raise Conflict(
            f"{named!r} can be any of {len(ids)}.",
            code=f"{kind}.ambiguous",
            hint="One of: " + ", ".join(sorted(names.shown[id] for id in ids)[:10]) + ".",
        )
    near = [names.shown[id] for id in names.closest(said)]
    raise NotFound(
        f"There is no {kind} {named!r}.",
        code=f"{kind}.unknown",
        hint=f"Did you mean {', '.join(near)}?" if near else "Add it in the portal first.",
    )


async def punches_of(ctx: Context, person: str) -> list[Worked]:
    """Somebody's latest punches as corrected, by time."""
    punches = await ctx.find(
        Punch, where(person=person), newest_first=True, limit=PUNCHES_LOOKED_AT
    )
    corrections = await ctx.find(
        PunchCorrection, where(person=person), newest_first=True, limit=PUNCHES_LOOKED_AT
    )
    return effective(punches, corrections)
