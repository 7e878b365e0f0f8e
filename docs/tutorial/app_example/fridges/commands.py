"""What can be done: note a temperature, and ask for the last one."""

from datetime import datetime
from typing import Annotated

import msgspec

from beira.sdk import (
    CRITICAL,
    Alert,
    Context,
    Invalid,
    NotFound,
    Personal,
    command,
    where,
)

from .records import Temperature


class FridgeSettings(msgspec.Struct, kw_only=True):
    """What an owner can choose, for the company, a site or a node."""

    warm_celsius: Annotated[
        float, msgspec.Meta(description="From this temperature on, an alert is raised")
    ] = 8.0


class Noted(msgspec.Struct, kw_only=True):
    """What the commands answer."""

    fridge: str
    celsius: float
    at: datetime
    too_warm: bool


@command(roles=("owner", "member"))
async def note_temperature(
    ctx: Context, fridge: str, celsius: float, read_by: Annotated[str, Personal] = ""
) -> Noted:
    """Notes a fridge's temperature; one that is too warm raises a critical alert."""
    fridge = " ".join(fridge.split())
    if not fridge or len(fridge) > 60:
        raise Invalid("Which fridge?", code="fridge.name", hint="Give it 1 to 60 characters.")
    if not -60 <= celsius <= 60:
        raise Invalid(
            f"No fridge has {celsius} °C.", code="fridge.celsius", hint="Read it again, in °C."
        )
    settings = await ctx.settings(FridgeSettings)
    noted = ctx.put(Temperature(fridge=fridge, celsius=celsius, at=ctx.now(), read_by=read_by))
    too_warm = celsius >= settings.warm_celsius
    if too_warm:
        ctx.put(
            Alert(
                kind="fridge.warm",
                level="critical",
                title=f"{fridge}: {celsius:.1f} °C",
                at=noted.at,
            ),
            lane=CRITICAL,
        )
    return Noted(fridge=fridge, celsius=celsius, at=noted.at, too_warm=too_warm)


@command(roles=("owner", "member", "guest"))
async def last_temperature(ctx: Context, fridge: str) -> Noted:
    """Tells the last temperature noted for a fridge at this site."""
    found = await ctx.find(Temperature, where(fridge=fridge), newest_first=True, limit=1)
    if not found:
        raise NotFound(
            f"No temperature of {fridge} was noted here.",
            code="fridge.unknown",
            hint="Note one first: note_temperature.",
        )
    settings = await ctx.settings(FridgeSettings)
    last = found[0]
    return Noted(
        fridge=last.fridge,
        celsius=last.celsius,
        at=last.at,
        too_warm=last.celsius >= settings.warm_celsius,
    )
