"""Settings of the apps, for the company, a site or a node: forms made from each app's own type."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from beira.host.page import Reply
from beira.kernel.access import TENANT_PARTITION, node_partition, site_partition
from beira.kernel.app import App, NoSettings
from beira.kernel.collection import collection_of
from beira.kernel.errors import Invalid, NotFound
from beira.kernel.query import where
from beira.kernel.system import Setting
from beira.portal.forms import Input, given, settings_inputs
from beira.portal.pages.own import OWNER, own
from beira.portal.visit import Visit


@own("/settings", roles=OWNER, where="cloud")
async def settings(visit: Visit) -> Reply:
    apps = _apps(visit)
    if len(apps) == 1:
        return visit.redirect(f"/settings/{apps[0].name}")
    return visit.render("portal/settings.html", apps=apps)


@own("/settings/{app:str}", roles=OWNER, where="cloud")
async def app_settings(visit: Visit) -> Reply:
    return await _page(visit, visit.asked.get("for", TENANT_PARTITION))


@own("/settings/{app:str}", method="POST", roles=OWNER, where="cloud")
async def save(visit: Visit) -> Reply:
    app = _app(visit)
    partition = visit.form.get("for", TENANT_PARTITION)
    await _check_place(visit, partition)
    inputs, own_values, _ = await _inputs(visit, app, partition)
    values, errors = given(inputs, visit.form)
    if errors:
        return await _page(visit, partition, errors=errors)
    unknown = {k: v for k, v in own_values.items() if k not in app.settings.__struct_fields__}
    record = Setting(id=f"{app.name}@{partition}", app=app.name, values={**unknown, **values})
    declared = collection_of(Setting)
    fields = {**declared.encode(record), "_deleted": False}
    row = visit.host.stamped(declared, record.id, partition, fields)
    await visit.host.write([row])
    return visit.redirect(f"/settings/{app.name}?for={partition}", done="saved")


async def _page(visit: Visit, partition: str, errors: dict[str, str] | None = None) -> Reply:
    app = _app(visit)
    await _check_place(visit, partition)
    inputs, own_values, above = await _inputs(visit, app, partition)
    if errors:
        inputs = [replace(item, value=visit.form.get(f"p.{item.name}", "")) for item in inputs]
    return visit.render(
        "portal/app_settings.html",
        status=400 if errors else 200,
        app=app,
        apps=_apps(visit),
        places=await _places(visit),
        partition=partition,
        inputs=inputs,
        errors=errors or {},
        own_values=own_values,
        above=above,
    )


async def _inputs(
    visit: Visit, app: App, partition: str
) -> tuple[list[Input], dict[str, Any], dict[str, Any]]:
    """The form of one level: its own values over those above it, over the app's defaults."""
    page = await visit.rows("settings", where(app=app.name), limit=1_000)
    by_place = {str(row["_partition"]): dict(row["values"]) for row in page.rows}
    defaults = msgspec.to_builtins(msgspec.convert({}, app.settings))
    above: dict[str, Any] = dict(defaults)
    for place in await _above(visit, partition):
        above |= by_place.get(place, {})
    own_values = by_place.get(partition, {})
    inputs = settings_inputs(app.settings, own_values, above, visit.words)
    return inputs, own_values, above


async def _above(visit: Visit, partition: str) -> list[str]:
    if partition == TENANT_PARTITION:
        return []
    if partition.startswith("site:"):
        return [TENANT_PARTITION]
    info = await visit.row("node_info", partition.removeprefix("node:"))
    return [TENANT_PARTITION, site_partition(info["site"])]


async def _places(visit: Visit) -> list[tuple[str, str]]:
    """Where settings can be made: the company, its sites, its nodes."""
    found = [(TENANT_PARTITION, visit.t("Toda a empresa", "The whole company"))]
    found += [(site_partition(id), name) for id, name in visit.site_names.items()]
    nodes = (await visit.rows("node_info", limit=500)).rows
    found += [
        (node_partition(str(r["id"])), f"{r['name']} ({visit.t('nó', 'node')})") for r in nodes
    ]
    return found


async def _check_place(visit: Visit, partition: str) -> None:
    if partition not in dict(await _places(visit)):
        raise Invalid(f"There is no place {partition[:80]!r}.", code="partition.unknown")


def _apps(visit: Visit) -> list[App]:
    return [app for app in visit.host.catalogue.apps if app.settings is not NoSettings]


def _app(visit: Visit) -> App:
    for app in _apps(visit):
        if app.name == visit.path["app"]:
            return app
    raise NotFound(f"There is no app {visit.path['app'][:48]!r} with settings.")


PAGES = (settings, app_settings, save)
