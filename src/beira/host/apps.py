"""Finding the apps that are installed, ours by the same door as anyone's."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import structlog

from beira.kernel.app import App, Catalogue, catalogue
from beira.kernel.errors import Misconfigured

GROUP = "beira.apps"
log = structlog.get_logger(__name__)


def installed(only: tuple[str, ...] = ()) -> Catalogue:
    """The catalogue of all installed apps, or of `only` some.

    An app whose extra is not installed is left out with a log line that says how to get it.
    Raises: Misconfigured for one asked for by name that is not there.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    missing = [name for name in only if name not in found]
    if missing:
        raise Misconfigured(
            f"There is no app {missing[0]!r}.",
            code="app.unknown",
            hint="Apps installed: " + (", ".join(sorted(found)) or "none") + ".",
        )
    apps = [_load(found[name], bool(only)) for name in sorted(only or found)]
    return catalogue(app for app in apps if app is not None)


def left_out() -> dict[str, Misconfigured]:
    """The apps that cannot be loaded here, each with what is missing and how to get it."""
    wrong = {}
    for point in entry_points(group=GROUP):
        try:
            load(point.value)
        except Misconfigured as error:
            wrong[point.name] = error
    return wrong


def load(reference: str) -> Any:
    """The object that `module:attribute` names. Raises Misconfigured with what is missing."""
    module, _, attribute = reference.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        extra = module.split(".")[2] if module.startswith("beira.apps.") else module
        raise Misconfigured(
            f"{reference} needs {error.name}, which is not installed.",
            code="extra.missing",
            hint=f"Install it: pip install 'beira[{extra}]'.",
        ) from error


def _load(point: EntryPoint, demanded: bool) -> App | None:
    try:
        app = load(point.value)
    except Misconfigured as error:
        if demanded:
            raise
        log.warning("app.left_out", app=point.name, why=error.message, hint=error.hint)
        return None
    if not isinstance(app, App):
        raise Misconfigured(f"{point.value} is not an App.", code="app.invalid")
    return app
