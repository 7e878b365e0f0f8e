"""What the portal's pages of Aurora have in common: what forms hold, and figures."""

from __future__ import annotations

import re

from beira.sdk import Order, View

STAFF = ("owner", "member")
OWNER = ("owner",)
NEWEST = (Order("at", descending=True), Order("id"))
QUERY_ROWS = 1_000
ROWS_MOST = 20_000
LIST_ROWS = 50
NAME_CHARS = 100


def p95(values: list[float]) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * 0.95))]


def checked_name(view: View, errors: dict[str, str]) -> str:
    name = " ".join(view.form.get("name", "").split())
    if not name or len(name) > NAME_CHARS or not name.isprintable():
        errors["name"] = view.t(f"De 1 a {NAME_CHARS} letras.", f"1 to {NAME_CHARS} characters.")
    return name


def said_lines(text: str) -> list[str]:
    """Other ways of saying a name: one a line, or separated by commas."""
    parts = (" ".join(part.split()) for part in re.split(r"[\n,;]", text))
    return [part[:NAME_CHARS] for part in dict.fromkeys(parts) if part][:20]


def cents_of(text: str) -> int | None:
    """12,90 or 1.234,50 or 12.90 as cents; None for anything else."""
    plain = text.strip().removeprefix("R$").strip()
    if re.fullmatch(r"\d{1,3}(\.\d{3})+(,\d{1,2})?|\d{1,7}(,\d{1,2})?", plain, re.ASCII):
        plain = plain.replace(".", "").replace(",", ".")
    elif not re.fullmatch(r"\d{1,7}\.\d{1,2}", plain, re.ASCII):
        return None
    whole, _, rest = plain.partition(".")
    return int(whole) * 100 + int(rest.ljust(2, "0") or 0)


def money_text(view: View, cents: int) -> str:
    text = f"{cents / 100:,.2f}"
    return text.translate(str.maketrans(",.", ".,")) if view.language == "pt-BR" else text
