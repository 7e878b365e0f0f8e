"""What customers ask for: noted with whom and how to reach them if said, told, and done with.

A request is a fact and so is what became of it; one without an end is open.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

import msgspec

from beira.apps.voice.language import Quantity, fold, tongue
from beira.apps.voice.lookup import the_product
from beira.apps.voice.records import CustomerRequest, RequestClosing, RequestOutcome
from beira.sdk import (
    IMPORTANT,
    Conflict,
    Context,
    Invalid,
    NotFound,
    Personal,
    command,
    timestamp,
    where,
)

ANYONE = ("owner", "member")
TEXT_CHARS = 1_000
NAME_CHARS = 120
PHONE_DIGITS = range(8, 16)
MOST_MILLI = 999_999_000
OPEN_FOR = timedelta(days=60)
LOOKED_AT = 1_000
TOLD = 5
_NOT_DIGIT = re.compile(r"\D")


class RequestTold(msgspec.Struct, kw_only=True):
    """A customer's request, as it was written or closed."""

    told: str
    request: str
    text: str
    customer: str = ""
    phone: str = ""


@command(roles=ANYONE, lane=IMPORTANT)
async def log_request(
    ctx: Context,
    text: Annotated[str, Personal] = "",
    product: str = "",
    customer: Annotated[str, Personal] = "",
    phone: Annotated[str, Personal] = "",
    quantity_milli: int = 0,
    unit: str = "",
) -> RequestTold:
    """Notes what a customer asked for: a product of ours, or anything; for whom, and their phone."""
    _short(text, TEXT_CHARS)
    _short(customer, NAME_CHARS)
    found = await the_product(ctx, product) if product else None
    if not 0 <= quantity_milli <= MOST_MILLI:
        raise Invalid("A quantity is more than nothing.", code="quantity.invalid",
                      hint=f"From 1 to {MOST_MILLI} thousandths.")  # fmt: skip
    text = " ".join(text.split()) or _counted(found.name if found else "", quantity_milli, unit)
    if not text:
        raise Invalid("What did the customer ask for?", code="request.empty")
    customer = " ".join(customer.split())
    made = ctx.put(
        CustomerRequest(
            text=text, product=found.id if found else "", at=ctx.now(), trace=ctx.trace_id,
            customer=customer, phone=_phone(phone), quantity_milli=quantity_milli, unit=unit[:8],
        )
    )  # fmt: skip
    return _told("log_request", made)


def _counted(name: str, quantity_milli: int, unit: str) -> str:
    """ "3 Café", "2 kg Pão": how much of it was asked for, if that was said."""
    if not name or not quantity_milli:
        return name
    shown = tongue("pt-BR").show_quantity(Quantity(quantity_milli, "" if unit == "un" else unit))
    return f"{shown} {name}"


def _phone(phone: str) -> str:
    digits = _NOT_DIGIT.sub("", phone)
    if phone.strip() and len(digits) not in PHONE_DIGITS:
        raise Invalid("That is no phone number.", code="request.phone",
                      hint="With its area code: 48 99999-1234.")  # fmt: skip
    return digits


def _told(told: str, request: CustomerRequest) -> RequestTold:
    whom = "" if request.customer else ".nobody"
    return RequestTold(told=told + whom, request=request.id, text=request.text,
                       customer=request.customer, phone=request.phone)  # fmt: skip


class OpenTold(msgspec.Struct, kw_only=True):
    """Requests that nobody has closed: how many, and the latest of them."""

    told: str
    requests: int
    latest: list[RequestTold]


@command(roles=ANYONE)
async def open_requests(ctx: Context, customer: Annotated[str, Personal] = "") -> OpenTold:
    """Tells which requests are open here, of one customer or of all."""
    found = [r for r in await _open(ctx) if not customer or _is(r.customer, customer)]
    told = "open_requests" if found else "open_requests.none"
    latest = [_told("", request) for request in found[:TOLD]]
    return OpenTold(told=told, requests=len(found), latest=latest)


@command(roles=ANYONE, lane=IMPORTANT)
async def close_request(
    ctx: Context,
    request: str = "",
    customer: Annotated[str, Personal] = "",
    text: Annotated[str, Personal] = "",
    outcome: RequestOutcome = "done",
) -> RequestTold:
    """Notes that a customer's request was met or given up. Without its id, the only open one of
    `customer`, or that asks for `text`; with several, refuses naming them (`request.which`)."""
    chosen = [r for r in await _open(ctx) if _chosen(r, request, customer, text)]
    if not chosen:
        raise NotFound("There is no such open request.", code="request.none",
                       details={"customer": customer})  # fmt: skip
    if len(chosen) > 1:
        raise Conflict(
            f"{len(chosen)} open requests can be meant.",
            code="request.which",
            hint="Give the request's id.",
            details={"customer": customer, **_choices(chosen)},
        )
    ctx.put(
        RequestClosing(
            request=chosen[0].id, outcome=outcome, by=ctx.principal.name or ctx.principal.id,
            at=ctx.now(), trace=ctx.trace_id,
        )
    )  # fmt: skip
    return _told(f"close_request.{outcome}", chosen[0])


def _choices(requests: list[CustomerRequest]) -> dict[str, Any]:
    """The first few of them, to choose from."""
    few = requests[:TOLD]
    labels = [f"{r.customer}: {r.text}" if r.customer else r.text for r in few]
    same = len({r.customer for r in few}) == 1
    return {"ids": [r.id for r in few], "choices": [r.text for r in few] if same else labels}


def _chosen(found: CustomerRequest, request: str, customer: str, text: str) -> bool:
    if request:
        return found.id == request
    if customer:
        return _is(found.customer, customer)
    return bool(text) and fold(text) in fold(found.text)


def _is(customer: str, named: str) -> bool:
    """Whether a customer is meant by a name, in full or by its first words."""
    own, said = fold(customer), fold(named)
    return bool(said) and (own == said or own.startswith(said + " "))


async def _open(ctx: Context) -> list[CustomerRequest]:
    """The latest first."""
    since = timestamp(ctx.now() - OPEN_FOR)
    noted = await ctx.find(
        CustomerRequest, where(at__gte=since), newest_first=True, limit=LOOKED_AT
    )
    closings = await ctx.find(
        RequestClosing, where(at__gte=since), newest_first=True, limit=LOOKED_AT
    )
    closed = {closing.request for closing in closings}
    return sorted((r for r in noted if r.id not in closed), key=lambda r: r.at, reverse=True)


def _short(text: str, most: int) -> None:
    if len(text) > most:
        raise Invalid(f"A text here has {most} characters at most.", code="text.too_long")
