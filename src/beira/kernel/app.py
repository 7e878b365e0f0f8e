"""What an app says of itself: its collections, commands, settings, and where its other halves are.

Edge, cloud and pages are named by `module:attribute`, so that a node need not load what only the
cloud uses. Apps are found by the entry point group `beira.apps`, ours by the same door as anyone's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from beira.kernel.backup import BACKUP_COLLECTIONS
from beira.kernel.blob import BLOB_COLLECTIONS
from beira.kernel.collection import Collection, Registry
from beira.kernel.command import Command
from beira.kernel.derived import with_rollups
from beira.kernel.errors import Invalid, NotFound
from beira.kernel.system import SYSTEM_COLLECTIONS
from beira.kernel.upload import UPLOAD_COLLECTIONS


class NoSettings(msgspec.Struct):
    """For an app that has none."""


@dataclass(frozen=True, kw_only=True)
class App:
    """An app's manifest.

    edge:  `async with edge(host): ...`, a factory of an async context manager run by a node
    cloud: the same, run by the cloud
    pages: a list of Litestar route handlers, mounted on nodes; `request.app.state.host` is the node's
    cloud_pages: the same, mounted in the cloud; there `await request.app.state.host_of_tenant(tenant)`
           gives a tenant's host, and `await request.app.state.signed_in(request)` who is asking
    answers: what the cloud answers this app's nodes, by name: async functions of (host, the node's
           Principal, bytes) that give bytes. A node asks by `host.ask_cloud("<app>/<name>", body)`
    portal_pages: a `Pages`, mounted by the portal of either host
    menu:  (path, name in pt-BR, name in English) of the pages people should find
    demo:  a function of (tenant's name, ids of its sites, now) that gives sample records for the
           demonstration, each with its partition (None: where it belongs)
    demo_work: an async function of (the tenant's host in the cloud, its name, ids of its sites) that
           makes for the demonstration what records alone cannot, such as files. It is run at every
           start, and does nothing once that is there
    doctor: an async function of a node's folder that gives findings for `beira node doctor`
    sentences: a folder (`package:folder`) with `<language>.yaml` files of what people can say to have
           this app's commands run: intents are called as the commands, slots as their parameters
    """

    name: str
    title: str
    collections: tuple[Collection, ...] = ()
    commands: tuple[Command, ...] = ()
    settings: type[msgspec.Struct] = NoSettings
    edge: str = ""
    cloud: str = ""
    pages: str = ""
    cloud_pages: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    portal_pages: str = ""
    menu: tuple[tuple[str, str, str], ...] = ()
    demo: str = ""
    demo_work: str = ""
    doctor: str = ""
    sentences: str = ""


@dataclass
class Catalogue:
    """All apps installed: every collection and command by its name."""

    apps: tuple[App, ...]
    collections: Registry = field(init=False)
    commands: dict[str, Command] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        declared = [c for app in self.apps for c in app.collections]
        own = [*SYSTEM_COLLECTIONS, *BLOB_COLLECTIONS, *UPLOAD_COLLECTIONS, *BACKUP_COLLECTIONS]
        self.collections = Registry([*own, *with_rollups(declared)])
        for command in (c for app in self.apps for c in app.commands):
            if command.name in self.commands:
                raise Invalid(f"Two commands are called {command.name}.")
            self.commands[command.name] = command

    def command(self, name: str) -> Command:
        """Raises NotFound with the names there are."""
        try:
            return self.commands[name]
        except KeyError:
            raise NotFound(
                f"There is no command {name!r}.",
                code="command.unknown",
                hint="Commands: " + ", ".join(sorted(self.commands)) + ".",
            ) from None

    def app_of_settings(self, kind: type[msgspec.Struct]) -> App:
        for app in self.apps:
            if app.settings is kind:
                return app
        raise NotFound(f"No app has the settings {kind.__name__}.")


def catalogue(apps: Iterable[App]) -> Catalogue:
    return Catalogue(tuple(apps))
