"""Days, hours and dates as slots and campaigns have them: typed in forms, checked, and told in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from typing import Any

from beira.sdk import View, date_of

EVERY_DAY = frozenset(range(7))
AT_MOST = 48
"""Fixed times of a day."""


def typed_times(form: Mapping[str, str]) -> dict[str, Any]:
    """What a form says, as it was typed."""
    texts = {name: form.get(name, "").strip() for name in ("begins", "ends", "first", "last")}
    days = frozenset(day for day in range(7) if form.get(f"day.{day}") == "yes")
    return {**texts, "days": days}


def row_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a record."""
    return {
        "begins": row["begins"], "ends": row["ends"],
        "first": str(row["first"] or ""), "last": str(row["last"] or ""),
        "days": frozenset(row["days"] or ()) or EVERY_DAY,
    }  # fmt: skip


def given_times(view: View, typed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The record's fields, and what is wrong, by field."""
    errors: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name in ("begins", "ends"):
        values[name] = hour_of(str(typed[name]))
        if not values[name]:
            errors[name] = view.t("Uma hora, como 08:00.", "A time, like 08:00.")
    for name in ("first", "last"):
        values[name] = date_of(str(typed[name]))
        if typed[name] and values[name] is None:
            errors[name] = view.t("Não é um dia.", "That is no day.")
    first, last = values["first"], values["last"]
    if isinstance(first, date) and isinstance(last, date) and last < first:
        errors["last"] = view.t("Vem antes do primeiro dia.", "It is before the first day.")
    if not typed["days"]:
        errors["days"] = view.t("Marque pelo menos um dia.", "Mark a day at least.")
    values["days"] = [] if typed["days"] == EVERY_DAY else sorted(typed["days"])
    return values, errors


def hour_of(text: str) -> str:
    """HH:MM, or "" for what is no time of day."""
    try:
        return f"{time.fromisoformat(text):%H:%M}" if ":" in text else ""
    except ValueError:
        return ""


def hours_of(text: str) -> list[str] | None:
    """Times of day, parted by blanks, commas or semicolons; None if one of them is none."""
    parts = text.replace(",", " ").replace(";", " ").split()
    found = [hour_of(part if ":" in part else part.replace("h", ":")) for part in parts]
    return sorted(set(found)) if all(found) and len(found) <= AT_MOST else None
