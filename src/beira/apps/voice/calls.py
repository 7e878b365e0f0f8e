"""What was understood, as a command's parameters, and what a sale comes to, to be read back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beira.apps.voice.dialogue import PRODUCTS, QUANTITIES, SPECS, Run
from beira.apps.voice.language import Quantity
from beira.apps.voice.records import Product
from beira.apps.voice.rules import in_units, line_total_cents
from beira.apps.voice.understand import Named

SAY_CHARS = 400


_TAKEN: dict[str, tuple[str, ...]] = {
    "register_punch": ("employee", "at=time", "kind"),
    "correct_punch": ("punch", "employee", "at=time", "kind", "which"),
    "cancel_punch": ("punch", "employee", "which"),
    "reassign_punch": ("punch", "employee", "belongs_to", "kind"),
    "hours_worked": ("employee", "days", "listed"),
    "register_product": ("name", "price_cents=price"),
    "product_price": ("product",),
    "product_stock": ("product",),
    "product_place": ("product",),
    "move_stock": ("product", "quantity", "reason"),
    "record_sale": ("total_cents=total",),
    "log_request": ("text", "product", "customer", "phone", "quantity"),
    "open_requests": ("customer",),
    "close_request": ("request", "customer", "text", "outcome"),
    "raise_emergency": ("kind",),
    "raise_security_alert": ("kind",),
    "report_failure": ("thing",),
}
"""Slots a command takes as they are; `parameter=slot` where their names differ."""
_IN_FULL = frozenset({"raise_emergency", "raise_security_alert", "report_failure"})


def params(act: Run, text: str) -> dict[str, object]:
    """A command's parameters from the slots of what was said; alerts keep the whole `text`. Another
    app's sentences name their slots as its command does."""
    if act.command not in SPECS:
        return dict(act.slots)
    given: dict[str, object] = {}
    for taken in _TAKEN.get(act.command, ()):
        name, _, slot = taken.partition("=")
        given |= _given(name, act.slots.get(slot or name))
    if act.command == "record_sale":
        given["items"] = _sold(act.slots)
    if act.command == "close_request" and isinstance(act.slots.get("product"), Named):
        given["text"] = act.slots["product"].said
    if act.command in _IN_FULL:
        given["text"] = text[:SAY_CHARS]
    return {name: value for name, value in given.items() if value is not None}


def _given(name: str, value: Any) -> dict[str, object]:
    """A slot's value as parameters."""
    if isinstance(value, Named):
        return {name: _id(value)}
    if isinstance(value, Quantity):
        return {"quantity_milli": value.milli, "unit": value.unit}
    return {name: value}


def _id(named: Any) -> str | None:
    return str(named.ids[0]) if isinstance(named, Named) and named.ids else None


def _counted(product: Named, quantity: Quantity) -> dict[str, object]:
    return {"product": _id(product), "quantity_milli": quantity.milli, "unit": quantity.unit}


def _sold(slots: Mapping[str, Any]) -> list[dict[str, object]]:
    first = _counted(slots["product"], slots["quantity"])
    if slots.get("price") is not None:
        first["price_cents"] = slots["price"]
    more = [
        _counted(slots[product], slots[quantity])
        for product, quantity in zip(PRODUCTS[1:], QUANTITIES[1:], strict=True)
        if slots.get(product) is not None and slots.get(quantity) is not None
    ]
    return [first, *more]


def lines_of(slots: Mapping[str, Any], products: Mapping[str, Product]) -> list[dict[str, object]]:
    """What was said of each product, in the unit it is counted in."""
    lines = []
    for sold in _sold(slots):
        product = products.get(str(sold["product"]))
        quantity = Quantity(int(str(sold["quantity_milli"])), str(sold["unit"]))
        fits = product is not None and in_units(quantity, product.unit) is not None
        unit = product.unit if product and fits else quantity.unit
        lines.append({**sold, "name": product.name if product else "", "unit": unit})
    return lines


def total_of(slots: Mapping[str, Any], products: Mapping[str, Product]) -> int | None:
    """What a sale would come to, where all its prices are known, to be read back."""
    total = 0
    for sold in _sold(slots):
        product = products.get(str(sold["product"]))
        quantity = Quantity(int(str(sold["quantity_milli"])), str(sold["unit"]))
        milli = in_units(quantity, product.unit) if product else None
        price = sold.get("price_cents", product.price_cents if product else None)
        if milli is None or price is None:
            return None
        total += line_total_cents(int(str(price)), milli)
    return total
