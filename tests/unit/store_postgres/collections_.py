"""Collections that hold every type there is."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from beira.kernel.clock import Stamp
from beira.kernel.collection import BOTH, UP, Registry, collection, collection_of
from beira.kernel.record import Fact, Row, State, Value


@collection("sales", flow=UP)
class Sale(Fact):
    product: str
    quantity: int
    price: float
    at: datetime
    paid: bool = True
    day: date | None = None
    lines: list[dict[str, Any]] = []
    order: str | None = None


@collection("products", flow=BOTH)
class Product(State):
    name: str
    stock: int = 0
    price: float | None = None
    seen_at: datetime | None = None
    tags: dict[str, Any] = {}


REGISTRY = Registry([collection_of(Sale), collection_of(Product)])


def row(
    collection: str, id: str, hlc: int, partition: str = "site:1", node: str = "n1", **fields: Value
) -> Row:
    return Row(
        collection=collection, id=id, partition=partition, fields=fields, stamp=Stamp(hlc, 1, node)
    )


def sale(id: str, hlc: int = 1, **fields: Value) -> Row:
    plain = {"product": "café", "quantity": 1, "price": 2.5, "at": "2026-01-31T14:30:00Z"}
    return row("sales", id, hlc, **(plain | fields))
