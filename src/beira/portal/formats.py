"""Numbers, money, days and times as Brazilians write them, and the same in English."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo

from markupsafe import Markup, escape

WEEKDAYS = {
    "pt-BR": ("segunda", "terça", "quarta", "quinta", "sexta", "sábado", "domingo"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


def parsed(value: object) -> datetime | None:
    """A moment from a row's text, seconds since 1970, or a datetime; None for anything else."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str) and value:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def number(value: float, language: str, digits: int = 0) -> str:
    """1.234,5 in Portuguese, 1,234.5 in English."""
    text = f"{value:,.{digits}f}"
    return text.translate(str.maketrans(",.", ".,")) if language == "pt-BR" else text


def size(size_bytes: float, language: str) -> str:
    """950 B, 12,5 kB, 3,1 MB, 2,0 GB: the largest unit, in thousands."""
    value, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1_000:
            break
        value, unit = value / 1_000, larger
    return f"{number(value, language, 0 if unit == 'B' else 1)} {unit}"


def money(cents: int | None, language: str) -> str:
    """R$ 1.234,50 from integer cents; a dash where there is none."""
    if cents is None:
        return "–"
    sign = "-" if cents < 0 else ""
    return f"{sign}R$ {number(abs(cents) / 100, language, 2)}"


def quantity(milli: int, unit: str, language: str) -> str:
    """1,5 kg from thousandths."""
    digits = len(f"{abs(milli) % 1000:03d}".rstrip("0"))
    return f"{number(milli / 1000, language, digits)} {unit}"


def duration(seconds: float, language: str) -> str:
    """45 s, 3 min, 2 h, 4 dias: the largest unit, rounded down."""
    if seconds < MINUTE_S:
        return f"{max(0, int(seconds))} s"
    if seconds < HOUR_S:
        return f"{int(seconds // MINUTE_S)} min"
    if seconds < DAY_S:
        return f"{int(seconds // HOUR_S)} h"
    days = int(seconds // DAY_S)
    word = ("dia" if days == 1 else "dias") if language == "pt-BR" else "d"
    return f"{days} {word}"


def hours(seconds: float, language: str) -> str:
    """7h45 in Portuguese, 7:45 in English: time worked."""
    minutes = round(seconds / 60)
    mark = "h" if language == "pt-BR" else ":"
    return f"{minutes // 60}{mark}{minutes % 60:02d}"


def ago(moment: datetime, now: datetime, language: str) -> str:
    """há 30 s; em 2 min for what lies ahead."""
    seconds = (now - moment).total_seconds()
    if seconds < -5:
        ahead = duration(-seconds, language)
        return f"em {ahead}" if language == "pt-BR" else f"in {ahead}"
    behind = duration(max(0, seconds), language)
    return f"há {behind}" if language == "pt-BR" else f"{behind} ago"


def ago_tag(moment: datetime, now: datetime, language: str, zone: tzinfo) -> Markup:
    """A `<time>` that the page's script keeps current; its title is the moment in full."""
    local = moment.astimezone(zone)
    full = f"{day(local.date(), language)} {local:%H:%M:%S}"
    iso = moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" data-ago title="{}">{}</time>').format(
        iso, full, escape(ago(moment, now, language))
    )


def day(value: date, language: str) -> str:
    """20/11/2026 in Portuguese, 20 Nov 2026 in English."""
    return f"{value:%d/%m/%Y}" if language == "pt-BR" else f"{value.day} {value:%b %Y}"


def weekday(value: date, language: str) -> str:
    return WEEKDAYS[language][value.weekday()]


def day_bounds(value: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """The moments at which a day begins and ends in a zone, in UTC."""
    start = datetime(value.year, value.month, value.day, tzinfo=zone)
    after = value + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=zone)
    return start.astimezone(UTC), end.astimezone(UTC)
