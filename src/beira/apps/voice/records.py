"""What Aurora writes down: who works here, what is sold, and everything that happened at a counter.

Money is integer cents. Quantities are integer thousandths of the product's unit (1.5 kg is 1500,
two pieces are 2000), so that sums are exact in every database and in JavaScript, and grams and
millilitres need no second scale. What happened is facts; hours, stock and takings are derived from
them by `rules`, so a correction is a further fact and nothing is ever lost.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from beira.sdk import (
    BOTH,
    DOWN,
    IMPORTANT,
    SITE,
    TENANT,
    UP,
    Fact,
    Personal,
    State,
    collection,
)

PunchKind = Literal["in", "out"]
Reason = Literal["in", "out", "loss", "return", "sale"]
Outcome = Literal["done", "asked", "refused", "cancelled", "expired", "not_understood", "failed"]
RequestOutcome = Literal["done", "cancelled"]
TALK_KEPT_DAYS = 90


@collection("people", flow=DOWN, lane=IMPORTANT, partition=TENANT)
class Person(State):
    """Somebody who works for the tenant. `also_said`: nicknames and other ways of saying the name.
    With a `site` the person is known to that site's voices only."""

    name: Annotated[str, Personal]
    also_said: Annotated[list[str], Personal] = []
    role: str = ""
    site: str | None = None
    active: bool = True


@collection("products", flow=BOTH, lane=IMPORTANT, partition=TENANT, write=("owner", "member"))
class Product(State):
    """Something sold. `unit` is what quantities count (un, kg, l, cx); `price_cents` is for one of it."""

    name: str
    also_said: list[str] = []
    price_cents: int | None = None
    unit: str = "un"
    place: str = ""
    barcode: str = ""
    active: bool = True


@collection(
    "stock_movements",
    flow=BOTH,
    lane=IMPORTANT,
    partition=SITE,
    write=(),
)
class StockMovement(Fact):
    """What came in (positive) or went out (negative); the stock of a product at a site is their sum.

    A sale writes one for each of its items (`reason` sale, `sale` its id), so that stock is one sum.
    """

    product: str
    name: str
    quantity_milli: int
    unit: str
    reason: Reason
    at: datetime
    sale: str = ""
    trace: str = ""


class SaleItem(msgspec.Struct, kw_only=True):
    """One line of a sale."""

    product: str
    name: str
    quantity_milli: int
    unit: str
    price_cents: int
    total_cents: int


@collection("sales", flow=UP, lane=IMPORTANT, partition=SITE, write=())
class Sale(Fact):
    """One sale, as it was said."""

    items: list[SaleItem]
    total_cents: int
    at: datetime
    trace: str = ""


@collection("punches", flow=BOTH, lane=IMPORTANT, partition=SITE, write=())
class Punch(Fact):
    """One clock-in or clock-out. `employee` is the name as it was then, `person` whose it is.

    `at` is the time worked from or until, `said_at` when it was said.
    """

    person: Annotated[str, Personal]
    employee: Annotated[str, Personal]
    kind: PunchKind
    at: datetime
    said_at: datetime
    trace: str = ""


@collection("punch_corrections", flow=BOTH, lane=IMPORTANT, partition=SITE, write=())
class PunchCorrection(Fact):
    """What a punch should have been, and who said so. The latest correction of a punch holds.

    `void` takes the punch out. `person` is the punch's, for questions about one person's days.
    Where it was another person's, it is taken out and `instead` is the punch that stands for it.
    """

    punch: str
    person: Annotated[str, Personal]
    at: datetime
    kind: PunchKind
    by: Annotated[str, Personal]
    said_at: datetime
    void: bool = False
    reason: Annotated[str, Personal] = ""
    trace: str = ""
    instead: str = ""


@collection("customer_requests", flow=BOTH, lane=IMPORTANT, partition=SITE, write=())
class CustomerRequest(Fact):
    """Something a customer asked for; `product` is its id where it is one we know.

    `customer` and `phone` are there if they were said. `quantity_milli` 0: how much was not said.
    """

    text: Annotated[str, Personal]
    at: datetime
    product: str = ""
    trace: str = ""
    customer: Annotated[str, Personal] = ""
    phone: Annotated[str, Personal] = ""
    quantity_milli: int = 0
    unit: str = ""


@collection("request_closings", flow=BOTH, lane=IMPORTANT, partition=SITE, write=())
class RequestClosing(Fact):
    """What became of a customer's request. One that has none is open."""

    request: str
    outcome: RequestOutcome
    by: Annotated[str, Personal]
    at: datetime
    trace: str = ""


@collection(
    "interactions",
    flow=UP,
    lane=IMPORTANT,
    partition=SITE,
    read=("owner", "member"),
    write=(),
    retention_days=TALK_KEPT_DAYS,
)
class Interaction(State):
    """One turn with Aurora: what was heard, what became of it, what was answered, and how fast.

    `stages_ms` has a figure for each stage; `latency_ms` is from the end of speech (or from the
    text's arrival) to the answer's first sound, or to the answer where nothing was spoken.
    `command` and `receipt` name what was carried out.
    """

    text: Annotated[str, Personal]
    at: datetime
    intent: str = ""
    outcome: Outcome = "not_understood"
    answer: Annotated[str, Personal] = ""
    confidence: float | None = None
    door: str = ""
    command: str = ""
    receipt: str = ""
    language: str = ""
    stages_ms: dict[str, float] = {}
    latency_ms: float | None = None
    trace: str = ""
    heard: Annotated[dict[str, Any], Personal] = {}
