"""What a request to the records asks for, read from its address and headers before anything is done.

Everything a client may send is checked here: bytes that are no text, headers that contradict
each other, parameters given twice. What passes is typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Request

from beira.api.dialect import Selection, column_name, filters, ordering, selection, split
from beira.api.errors import NotAcceptable, NotCovered, OutOfRange, WrongMedia
from beira.kernel import limits
from beira.kernel.errors import BeiraError, Invalid, TooLarge
from beira.kernel.query import Filter, Order

_RESERVED = frozenset({"select", "order", "limit", "offset", "columns", "on_conflict"})
_NUMBER = re.compile(r"[0-9]{1,15}\Z")
_RANGE = re.compile(r"(?:items=)?([0-9]{1,15})-([0-9]{1,15})?\Z")


@dataclass(frozen=True)
class Prefer:
    """The `Prefer` headers, and which of them were followed."""

    returns: str = "minimal"
    count: str = ""
    resolution: str = ""
    max_affected: int | None = None
    applied: str = ""


@dataclass(frozen=True)
class Form:
    """In which form the answer is wanted."""

    csv: bool = False
    single: bool = False
    strip_nulls: bool = False


@dataclass(frozen=True)
class Asked:
    """A request's query, page and preferences. `columns` None means all that the body gives."""

    selection: Selection
    where: Filter | None
    order: tuple[Order, ...]
    limit: int | None
    offset: int
    columns: frozenset[str] | None
    prefer: Prefer
    form: Form


def asked(request: Request[Any, Any, Any]) -> Asked:
    """Read a request. Raises Invalid, TooLarge, NotCovered, NotAcceptable."""
    for header in ("accept-profile", "content-profile"):
        if request.headers.get(header, "public") != "public":
            raise NotCovered("There is one schema here: public.", hint=f"Leave out {header}.")
    reserved, rest = _parameters(request)
    conflict = reserved.get("on_conflict", "id").strip('"')
    if conflict != "id":
        raise NotCovered(
            "Records conflict by their id only.", hint="Leave out on_conflict, or write id."
        )
    limit, offset = _page(request, reserved)
    return Asked(
        selection=selection(reserved.get("select", "*")),
        where=filters(rest),
        order=ordering(reserved.get("order", "")),
        limit=limit,
        offset=offset,
        columns=_columns(reserved.get("columns")),
        prefer=_prefer(request.headers.getall("prefer", [])),
        form=_form(request.headers.get("accept", "")),
    )


def parameters(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    """The address's parameters, in order, decoded strictly. Raises Invalid, TooLarge."""
    raw: bytes = request.scope["query_string"]
    if len(raw) > limits.QUESTION_BYTES:
        raise TooLarge(
            f"The address is over {limits.QUESTION_BYTES} bytes.", hint="Ask in several requests."
        )
    pairs = []
    for part in raw.split(b"&"):
        if part:
            key, _, value = part.partition(b"=")
            pairs.append((_text(key), _text(value)))
    return pairs


async def body_of(request: Request[Any, Any, Any]) -> Any:
    """The JSON of a request's body. Raises Invalid, WrongMedia, TooLarge."""
    media = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if media != "application/json" and not media.endswith("+json"):
        raise WrongMedia(f"A body of {media[:60]} is not read.", hint="Send application/json.")
    return decoded(await request.body())


def decoded(content: bytes) -> Any:
    """JSON of bounded nesting. Raises Invalid `body.invalid`."""
    try:
        value = msgspec.json.decode(content)
    except RecursionError:
        raise _bad_body("it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _bad_body(str(error)) from None
    if _is_deep(value):
        raise _bad_body(f"it is nested more than {limits.BODY_DEPTH} deep")
    return value


def _is_deep(value: Any) -> bool:
    """Whether a value nests deeper than every part of a host and its databases can follow."""
    level = [value]
    for _ in range(limits.BODY_DEPTH):
        level = (
            [
                inner
                for outer in level
                for inner in (outer.values() if isinstance(outer, dict) else outer)
                if isinstance(inner, dict | list)
            ]
            if isinstance(level[0], dict | list)
            else []
        )
        if not level:
            return False
    return True


def _bad_body(why: str) -> BeiraError:
    return Invalid(
        f"The body is not JSON that can be kept: {why}.",
        code="body.invalid",
        hint="Send JSON in UTF-8.",
    )


def _text(raw: bytes) -> str:
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("The address holds bytes that are not UTF-8.") from None
    if "\x00" in text:
        raise Invalid("The address holds a NUL character.")
    return text


def _parameters(
    request: Request[Any, Any, Any],
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    reserved: dict[str, str] = {}
    rest = []
    for key, value in parameters(request):
        if key not in _RESERVED:
            rest.append((key, value))
        elif key in reserved:
            raise Invalid(f"{key} is given twice.", hint="Give it once.")
        else:
            reserved[key] = value
    return reserved, rest


def _page(request: Request[Any, Any, Any], reserved: Mapping[str, str]) -> tuple[int | None, int]:
    limit = _number("limit", reserved["limit"]) if "limit" in reserved else None
    offset = _number("offset", reserved.get("offset", "0"))
    header = request.headers.get("range", "")
    if not header or request.method not in ("GET", "HEAD") or reserved.keys() & {"limit", "offset"}:
        return limit, offset
    found = _RANGE.match(header)
    first = int(found[1]) if found else 0
    last = int(found[2]) if found and found[2] else None
    if found is None or (last is not None and last < first):
        raise OutOfRange(f"Range: {header[:40]} is not a range.", hint="Write Range: 0-24.")
    return (None if last is None else last - first + 1), first


def _number(name: str, text: str) -> int:
    if not _NUMBER.match(text):
        raise Invalid(f"{name}={text[:40]} is not a whole number from 0.")
    return int(text)


def _columns(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(column_name(part) for part in split(text))


_PREFERENCES = {
    "return": {"minimal", "representation", "headers-only"},
    "count": {"exact", "planned", "estimated"},
    "resolution": {"merge-duplicates", "ignore-duplicates"},
    "missing": {"default", "null"},
    "handling": {"strict", "lenient"},
}


def _prefer(headers: Iterable[str]) -> Prefer:
    given: dict[str, str] = {}
    for part in ",".join(headers).split(","):
        key, _, value = part.strip().partition("=")
        given.setdefault(key.strip().lower(), value.strip())
    if given.get("tx") == "rollback":
        raise NotCovered("Trying a write without keeping it is not covered.", hint="Drop tx=.")
    kept = {k: v for k, v in given.items() if v in _PREFERENCES.get(k, ())}
    most = given.get("max-affected")
    if most is not None:
        kept["max-affected"] = str(_number("max-affected", most))
    unknown = [k for k in given if k and k not in kept and k not in ("tx", "timezone")]
    if unknown and kept.get("handling") == "strict":
        raise Invalid(
            f"Prefer: {', '.join(unknown)[:60]} is not known.",
            code="prefer.invalid",
            hint="Preferences: " + ", ".join(_PREFERENCES) + ", max-affected.",
        )
    return Prefer(
        returns=kept.get("return", "minimal"),
        count=kept.get("count", ""),
        resolution=kept.get("resolution", ""),
        max_affected=int(kept["max-affected"]) if "max-affected" in kept else None,
        applied=", ".join(f"{key}={value}" for key, value in kept.items()),
    )


def _form(accept: str) -> Form:
    for wanted in accept.lower().split(",") if accept.strip() else ["*/*"]:
        media, *options = (part.strip() for part in wanted.split(";"))
        strip = "nulls=stripped" in options
        if media in ("application/json", "*/*", "application/*"):
            return Form()
        if media == "text/csv":
            return Form(csv=True)
        if media == "application/vnd.pgrst.object+json":
            return Form(single=True, strip_nulls=strip)
        if media == "application/vnd.pgrst.array+json":
            return Form(strip_nulls=strip)
    raise NotAcceptable(
        f"An answer as {accept[:60]} cannot be given.",
        hint="Accept application/json, text/csv or application/vnd.pgrst.object+json.",
    )
