"""What Aurora can do with what is sold, whichever door it was asked at: a voice, a page, the API.

Each command gives a typed result whose `told` names the wording of its answer. People and products
are given by id or by a name that only one has; quantities in thousandths, money in cents.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from beira.apps.voice.language import Quantity, fold
from beira.apps.voice.lookup import the_product
from beira.apps.voice.records import (
    Product,
    Reason,
    Sale,
    SaleItem,
    StockMovement,
)
from beira.apps.voice.rules import (
    in_units,
    line_total_cents,
    share_cents,
    stock_words,
)
from beira.apps.voice.settings import VoiceSettings
from beira.sdk import (
    CRITICAL,
    IMPORTANT,
    Column,
    Conflict,
    Context,
    Invalid,
    Measure,
    Query,
    Runs,
    command,
    where,
)

ANYONE = ("owner", "member")
MOST_ITEMS = 50
MOST_MILLI = 999_999_000
MOST_CENTS = 99_999_999
SHORT_CHARS = 120
TEXT_CHARS = 1_000


class ProductTold(msgspec.Struct, kw_only=True):
    """A product, for an answer; only what was asked for is given."""

    told: str
    product: str
    name: str
    unit: str
    price_cents: int | None = None
    stock_milli: int | None = None
    place: str = ""


@command(roles=(*ANYONE, "guest"), runs=Runs.ANYWHERE)
async def product_price(ctx: Context, product: str) -> ProductTold:
    """Tells what a product costs."""
    found = await the_product(ctx, product)
    told = "product_price" if found.price_cents is not None else "product_price.none"
    return ProductTold(
        told=told, product=found.id, name=found.name, unit=found.unit, price_cents=found.price_cents
    )


@command(roles=ANYONE)
async def product_stock(ctx: Context, product: str) -> ProductTold:
    """Tells how much of a product there is here: the sum of what came in and went out."""
    found = await the_product(ctx, product)
    milli = await stock_milli(ctx, found.id)
    return ProductTold(told=f"product_stock.{stock_words(milli)}", product=found.id,
                       name=found.name, unit=found.unit, stock_milli=milli)  # fmt: skip


async def stock_milli(ctx: Context, product: str) -> int:
    """The stock of a product in thousandths of its unit, of all that can be seen from here."""
    total = Column("quantity_milli", alias="total", measure=Measure.SUM)
    page = await ctx.query(
        Query(collection="stock_movements", columns=(total,), where=where(product=product))
    )
    return int(page.rows[0]["total"] or 0) if page.rows else 0


@command(roles=(*ANYONE, "guest"), runs=Runs.ANYWHERE)
async def product_place(ctx: Context, product: str) -> ProductTold:
    """Tells where a product stands."""
    found = await the_product(ctx, product)
    told = "product_place" if found.place else "product_place.none"
    return ProductTold(
        told=told, product=found.id, name=found.name, unit=found.unit, place=found.place
    )


@command(roles=ANYONE, runs=Runs.ANYWHERE, lane=IMPORTANT)
async def register_product(
    ctx: Context,
    name: str,
    price_cents: int | None = None,
    unit: Literal["un", "kg", "l", "cx"] = "un",
    place: str = "",
    also_said: list[str] = [],  # noqa: B006 (never changed: a copy is made)
    barcode: str = "",
) -> ProductTold:
    """Registers a new product, which voices know from then on."""
    name = " ".join(name.split())
    for text in (name, place, barcode, *also_said):
        _short(text, SHORT_CHARS)
    if not fold(name) or len(also_said) > MOST_ITEMS:
        raise Invalid("A product needs a name.", code="product.name")
    _cents(price_cents)
    same = await ctx.find(Product, where(name__ilike=_literally(name)), limit=5)
    if any(fold(p.name) == fold(name) and p.active for p in same):
        raise Conflict(
            f"There is already a product {name!r}.",
            code="product.twice",
            hint="Change its price or place in the portal.",
            details={"name": name},
        )
    made = ctx.put(Product(name=_titled(name), also_said=list(also_said), price_cents=price_cents,
                           unit=unit, place=place, barcode=barcode))  # fmt: skip
    told = "register_product" if price_cents is not None else "register_product.no_price"
    return ProductTold(told=told, product=made.id, name=made.name, unit=unit,
                       price_cents=price_cents, place=place)  # fmt: skip


def _literally(text: str) -> str:
    """A pattern that only the text itself can match; its own wildcards match any one character."""
    return text.translate({ord("*"): "_", ord("%"): "_"})


def _titled(name: str) -> str:
    return name[:1].upper() + name[1:]


class Sold(msgspec.Struct, kw_only=True):
    """One line of a sale, as asked for. Without a price, the product's own."""

    product: str
    quantity_milli: int
    unit: str = ""
    price_cents: int | None = None


class SaleTold(msgspec.Struct, kw_only=True):
    """A sale as it was written; `name`, `quantity_milli` and `unit` are of its first line."""

    told: str
    sale: str
    total_cents: int
    lines: int
    items: list[SaleItem]
    name: str
    quantity_milli: int
    unit: str


@command(roles=ANYONE, lane=IMPORTANT)
async def record_sale(ctx: Context, items: list[Sold], total_cents: int | None = None) -> SaleTold:
    """Records a sale and takes what was sold from the stock. A `total_cents` said for the whole
    is shared over the lines by their price."""
    if not 0 < len(items) <= MOST_ITEMS:
        raise Invalid(f"A sale has 1 to {MOST_ITEMS} items.", code="sale.items")
    _cents(total_cents)
    lines = [await _line(ctx, item, total_cents is not None) for item in items]
    if total_cents is not None:
        shares = share_cents(total_cents, [line.total_cents for line in lines])
        for line, share in zip(lines, shares, strict=True):
            line.total_cents = share
    total = sum(line.total_cents for line in lines)
    _cents(total)
    settings = await ctx.settings(VoiceSettings)
    lane = CRITICAL if total >= settings.critical_money_cents > 0 else None
    sale = ctx.put(
        Sale(items=lines, total_cents=total, at=ctx.now(), trace=ctx.trace_id), lane=lane
    )
    for line in lines:
        _move(ctx, line.product, line.name, -line.quantity_milli, line.unit, "sale", sale.id)
    first = lines[0]
    return SaleTold(told="record_sale" if len(lines) == 1 else "record_sale.many", sale=sale.id,
                    total_cents=total, lines=len(lines), items=lines, name=first.name,
                    quantity_milli=first.quantity_milli, unit=first.unit)  # fmt: skip


async def _line(ctx: Context, item: Sold, priced: bool) -> SaleItem:
    found = await the_product(ctx, item.product)
    milli = _in_units(found, item.quantity_milli, item.unit)
    _cents(item.price_cents)
    price = item.price_cents if item.price_cents is not None else found.price_cents
    if price is None and not priced:
        raise Invalid(
            f"{found.name} has no price.",
            code="sale.no_price",
            hint="Say for how much it was sold, or give it a price in the portal.",
            details={"name": found.name},
        )
    price = price or 0
    return SaleItem(product=found.id, name=found.name, quantity_milli=milli, unit=found.unit,
                    price_cents=price, total_cents=line_total_cents(price, milli))  # fmt: skip


class MovementTold(msgspec.Struct, kw_only=True):
    """A stock movement and the stock after it. `quantity_milli` has no sign; `reason` gives it."""

    told: str
    product: str
    name: str
    unit: str
    reason: Reason
    quantity_milli: int
    stock_milli: int


@command(roles=ANYONE, lane=IMPORTANT)
async def move_stock(
    ctx: Context,
    product: str,
    quantity_milli: int,
    reason: Literal["in", "out", "loss", "return"] = "in",
    unit: str = "",
) -> MovementTold:
    """Records goods that came in, went out, were lost or were returned. The quantity is positive."""
    found = await the_product(ctx, product)
    milli = _in_units(found, quantity_milli, unit)
    signed = milli if reason in ("in", "return") else -milli
    before = await stock_milli(ctx, found.id)
    _move(ctx, found.id, found.name, signed, found.unit, reason)
    return MovementTold(told=f"move_stock.{reason}", product=found.id, name=found.name,
                        unit=found.unit, reason=reason, quantity_milli=milli,
                        stock_milli=before + signed)  # fmt: skip


def _move(
    ctx: Context, product: str, name: str, signed: int, unit: str, reason: Reason, sale: str = ""
) -> None:
    ctx.put(StockMovement(product=product, name=name, quantity_milli=signed, unit=unit,
                          reason=reason, at=ctx.now(), sale=sale, trace=ctx.trace_id))  # fmt: skip


def _in_units(product: Product, milli: int, unit: str) -> int:
    if not 0 < milli <= MOST_MILLI:
        raise Invalid("A quantity is more than nothing.", code="quantity.invalid",
                      hint=f"From 1 to {MOST_MILLI} thousandths.")  # fmt: skip
    fitting = in_units(Quantity(milli, unit), product.unit)
    if fitting is None:
        raise Invalid(
            f"{product.name} is counted in {product.unit}.",
            code="quantity.unit",
            hint=f"Say how many {product.unit}.",
            details={"name": product.name, "unit": product.unit},
        )
    return fitting


def _cents(cents: int | None) -> None:
    if cents is not None and not 0 <= cents <= MOST_CENTS:
        raise Invalid("That is no price.", code="money.invalid",
                      hint=f"From 0 to {MOST_CENTS} cents.")  # fmt: skip


def _short(text: str, most: int) -> None:
    if len(text) > most:
        raise Invalid(f"A text here has {most} characters at most.", code="text.too_long")
