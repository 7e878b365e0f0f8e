"""Products and people, edited here and known to every voice within seconds; and the day's sales."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from beira.apps.voice.portal_reading import (
    LIST_ROWS,
    NAME_CHARS,
    NEWEST,
    OWNER,
    QUERY_ROWS,
    ROWS_MOST,
    STAFF,
    cents_of,
    checked_name,
    said_lines,
)
from beira.apps.voice.records import Person, Product
from beira.sdk import (
    Column,
    Invalid,
    Measure,
    Order,
    Reply,
    View,
    between_days,
    both,
    date_of,
    every_row,
    local_time,
    one_row,
    page,
    where,
    whole_of,
    words_filter,
)

UNITS = ("un", "kg", "l", "cx")
OPENS = 7


@page("/products")
async def products(view: View) -> Reply:
    return view.render("voice/products.html", **await _products(view))


@page("/products/list")
async def products_list(view: View) -> Reply:
    return view.render("voice/products_list.html", **await _products(view))


@page("/products/new", roles=STAFF)
async def product_new(view: View) -> Reply:
    return view.render("voice/product.html", product={}, errors={}, units=UNITS)


@page("/products/new", method="POST", roles=STAFF)
async def product_add(view: View) -> Reply:
    values, errors = _product_of(view)
    if not errors:
        try:
            async with view.host.writing() as ctx:
                ctx.put(msgspec.convert(values, Product), partition="tenant")
        except Invalid as error:
            errors["name"] = error.message
    if errors:
        return _product_again(view, {}, errors)
    return view.redirect("/products", done="added")


@page("/products/{product:str}")
async def product(view: View) -> Reply:
    found = await one_row(view, "products", view.path["product"])
    return view.render("voice/product.html", product=found, errors={}, units=UNITS)


@page("/products/{product:str}", method="POST", roles=STAFF)
async def product_save(view: View) -> Reply:
    found = await one_row(view, "products", view.path["product"])
    errors: dict[str, str] = {}
    if "active" in view.form and "name" not in view.form:
        values = {"active": view.form["active"] == "yes"}
    else:
        values, errors = _product_of(view)
    if not errors:
        async with view.host.writing() as ctx:
            ctx.patch(Product, found["id"], **values)
        return view.redirect("/products", done="saved")
    return _product_again(view, found, errors)


@page("/people", roles=STAFF)
async def people(view: View) -> Reply:
    return view.render("voice/people.html", **await _people(view))


@page("/people/list", roles=STAFF)
async def people_list(view: View) -> Reply:
    return view.render("voice/people_list.html", **await _people(view))


@page("/people/new", roles=OWNER, where="cloud")
async def person_new(view: View) -> Reply:
    return view.render("voice/person.html", person={}, errors={}, sites=await view.sites())


@page("/people/new", method="POST", roles=OWNER, where="cloud")
async def person_add(view: View) -> Reply:
    values, errors = await _person_of(view)
    if errors:
        return await _person_again(view, {}, errors)
    async with view.host.writing() as ctx:
        ctx.put(msgspec.convert(values, Person), partition="tenant")
    return view.redirect("/people", done="added")


@page("/people/{person:str}", roles=STAFF)
async def person(view: View) -> Reply:
    found = await one_row(view, "people", view.path["person"])
    return view.render("voice/person.html", person=found, errors={}, sites=await view.sites())


@page("/people/{person:str}", method="POST", roles=OWNER, where="cloud")
async def person_save(view: View) -> Reply:
    found = await one_row(view, "people", view.path["person"])
    values: dict[str, Any]
    errors: dict[str, str] = {}
    if "active" in view.form and "name" not in view.form:
        values = {"active": view.form["active"] == "yes"}
    else:
        values, errors = await _person_of(view)
    if errors:
        return await _person_again(view, found, errors)
    async with view.host.writing() as ctx:
        ctx.patch(Person, found["id"], **values)
    return view.redirect("/people", done="saved")


@page("/sales")
async def sales(view: View) -> Reply:
    return view.render("voice/sales.html", **await _sales(view))


@page("/sales/list")
async def sales_list(view: View) -> Reply:
    return view.render("voice/sales_list.html", **await _sales(view))


async def _products(view: View) -> dict[str, Any]:
    found = await _search(view, "products", ("name", "barcode"))
    ids = tuple(str(row["id"]) for row in found["rows"])
    stock = {}
    if ids:
        columns = (Column("product"), Column("quantity_milli", measure=Measure.SUM, alias="milli"))
        page = await view.rows(
            "stock_movements", where(product__in=ids), columns=columns, limit=QUERY_ROWS
        )
        stock = {row["product"]: int(row["milli"] or 0) for row in page.rows}
    return {**found, "stock": stock, "can_edit": view.principal.role in STAFF}


async def _people(view: View) -> dict[str, Any]:
    found = await _search(view, "people", ("name",))
    can_edit = view.principal.role == "owner" and view.host.place.in_cloud
    return {**found, "sites": await view.sites(), "can_edit": can_edit}


async def _search(view: View, collection: str, columns: tuple[str, ...]) -> dict[str, Any]:
    """Rows whose name has the words asked for; those put aside only when asked for."""
    offset, asked = whole_of(view.asked.get("from", "")), view.asked.get("q", "").strip()[:80]
    every = view.asked.get("all") == "yes"
    shown = None if every else where(active=True)
    found = await view.rows(
        collection,
        both(shown, words_filter(asked, columns)),
        order=(Order("name"),),
        limit=LIST_ROWS,
        offset=offset,
        count=True,
    )
    return {
        "rows": found.rows, "total": found.total or 0, "offset": offset, "q": asked, "every": every,
    }  # fmt: skip


def _product_of(view: View) -> tuple[dict[str, Any], dict[str, str]]:
    form = view.form
    errors: dict[str, str] = {}
    name = checked_name(view, errors)
    price = cents_of(form.get("price", ""))
    if form.get("price", "").strip() and price is None:
        errors["price"] = view.t("Escreva como 12,90.", "Write it like 12.90.")
    unit = form.get("unit", "un")
    if unit not in UNITS:
        errors["unit"] = view.t("Escolha uma unidade.", "Choose a unit.")
    barcode = form.get("barcode", "").replace(" ", "")
    if barcode and not (barcode.isascii() and barcode.isdigit() and len(barcode) <= 14):
        errors["barcode"] = view.t("Só números, até 14.", "Digits only, up to 14.")
    return {
        "name": name,
        "also_said": said_lines(form.get("also_said", "")),
        "price_cents": price,
        "unit": unit,
        "place": form.get("place", "").strip()[:NAME_CHARS],
        "barcode": barcode[:14],
    }, errors


def _product_again(view: View, found: Mapping[str, Any], errors: dict[str, str]) -> Reply:
    typed = {**found, **view.form, "also_said": said_lines(view.form.get("also_said", ""))}
    return view.render("voice/product.html", status=400, product=typed, errors=errors, units=UNITS)


async def _person_of(view: View) -> tuple[dict[str, Any], dict[str, str]]:
    form = view.form
    errors: dict[str, str] = {}
    name = checked_name(view, errors)
    site = form.get("site", "") or None
    if site is not None and site not in await view.sites():
        errors["site"] = view.t("Escolha uma loja.", "Choose a site.")
    return {
        "name": name,
        "also_said": said_lines(form.get("also_said", "")),
        "role": form.get("role", "").strip()[:NAME_CHARS],
        "site": site,
    }, errors


async def _person_again(view: View, found: Mapping[str, Any], errors: dict[str, str]) -> Reply:
    typed = {**found, **view.form, "also_said": said_lines(view.form.get("also_said", ""))}
    sites = await view.sites()
    return view.render("voice/person.html", status=400, person=typed, errors=errors, sites=sites)


async def _sales(view: View) -> dict[str, Any]:
    day = date_of(view.asked.get("day", "")) or view.today
    offset, when = whole_of(view.asked.get("from", "")), between_days(view, day, day)
    found = await view.rows("sales", when, order=NEWEST, limit=LIST_ROWS, offset=offset, count=True)
    total = (Column("total_cents", measure=Measure.SUM, alias="cents"),)
    by_hour: dict[int, int] = defaultdict(int)
    for row in await every_row(
        view, "sales", when, (Column("at"), Column("total_cents")), ROWS_MOST
    ):
        by_hour[local_time(view, row["at"]).hour] += int(row["total_cents"])
    cents = (await view.rows("sales", when, columns=total)).rows
    return {
        "sales": found.rows, "total": found.total or 0, "offset": offset, "day": day,
        "cents": int(cents[0]["cents"] or 0) if cents else 0, "sites": await view.sites(),
        "before": day - timedelta(days=1), "after": day + timedelta(days=1),
        "drawn": _sold(view, by_hour),
    }  # fmt: skip


def _sold(view: View, by_hour: Mapping[int, int]) -> dict[str, Any]:
    """What was sold by hour of the day, as the page draws it."""
    hours = list(range(min(OPENS, *by_hour), max(by_hour) + 1)) if by_hour else []
    labels = {hour: f"{hour}h" if view.language == "pt-BR" else f"{hour}:00" for hour in hours}
    values = [by_hour.get(hour, 0) / 100 for hour in hours]
    series = [{"label": "R$", "values": values}]
    plot = {"x": hours, "labels": labels, "bars": True, "series": series, "height": 150}
    return {"title": view.t("Vendas por hora (R$)", "Sales by hour (R$)"), "plot": plot}
