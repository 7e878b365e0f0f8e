"""`beira node backup`, `backup-key` and `restore`: what people do about backups by hand."""

from __future__ import annotations

import asyncio
import os
import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from beira.cli.options import Data, KeyFrom
from beira.cli.shown import console
from beira.kernel.errors import Conflict, Invalid, Misconfigured

if TYPE_CHECKING:
    from rich.progress import Progress

    from beira.node.backup_files import BackupPlan
    from beira.node.backup_restore import Restored

DEFAULT = Path("/var/lib/beira-node")
_SHOWN_AS = {"proxies": "proxy"}
_NOT_SHOWN = ("data", "key_from", "cloud", "backup_every_s", "backup_cloud")


def add_to(node: typer.Typer) -> None:
    """Make them commands of `beira node`."""
    node.command("backup")(backup)
    node.command("backup-key")(backup_key)
    node.command("restore")(restore)


def backup(
    data: Data = DEFAULT,
    now: Annotated[bool, typer.Option("--now", help="Make one now, and wait for it.")] = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="To this folder, not where the node puts them.")
    ] = None,
    key_from: KeyFrom = "",
    status: Annotated[bool, typer.Option("--status", help="Show how they went.")] = False,
) -> None:
    """Show how this node's backups went, or make one now. The node may run meanwhile."""
    from beira.node import backup_files

    if status and now:
        raise Invalid("--now and --status are two things.", hint="Give one of them.")
    if not now:
        _show(data)
        return
    plan = backup_files.plan(data)
    plan.key_from = key_from or plan.key_from
    if to is not None:
        plan.to, plan.cloud = str(to.absolute()), False
    _make(plan)
    if _show(data):
        raise typer.Exit(1)


def backup_key(
    data: Data = DEFAULT,
    key_from: KeyFrom = "",
    use: Annotated[
        Path | None,
        typer.Option("--use", help="A file with a recovery key of yours, the same for many nodes."),
    ] = None,
) -> None:
    """Make this node's recovery key and show it, or show it again. Backups begin once there is one.

    Whoever has it can open this node's backups. Without it nobody can: keep it on paper, elsewhere.
    """
    from beira.backup.key import RecoveryKey
    from beira.node import at_rest, backup_files, settled

    rest = at_rest.opened(data, key_from)
    name = settled.load(data, rest.files).enrolled.name
    if use is not None:
        _take_key(data, rest, use)
    elif not backup_files.has_key(data):
        backup_files.write_key(data, rest.files, RecoveryKey.fresh().secret)
    key = RecoveryKey(backup_files.read_key(data, rest.files))
    console.print(f"Recovery key of {name}:", markup=False)
    console.print(f"\n    {key.text}\n", style="bold", highlight=False)
    console.print("Write it down, and keep it away from this machine. A backup cannot be opened")
    console.print("without it: neither by the cloud, nor by whoever makes Beira.")


def restore(
    code: Annotated[
        str, typer.Argument(help="The one-time code for this node; none, to go on with a cut one.")
    ] = "",
    cloud: Annotated[str, typer.Option("--cloud", help="The cloud's address.")] = "",
    place: Annotated[
        Path | None, typer.Option("--from", help="The folder that its backups went to.")
    ] = None,
    recovery_key: Annotated[
        str,
        typer.Option(
            "--recovery-key",
            envvar="BEIRA_RECOVERY_KEY",
            help="Asked for if it is not given; a file of it by @FILE.",
        ),
    ] = "",
    data: Data = DEFAULT,
    key_from: KeyFrom = "",
    ca: Annotated[Path | None, typer.Option(help="Trust this certificate for the cloud.")] = None,
    client_cert: Annotated[
        Path | None, typer.Option(help="Show this certificate to a proxy that asks.")
    ] = None,
    client_key: Annotated[Path | None, typer.Option(help="Its key in PEM form.")] = None,
) -> None:
    """Make this bare machine a node that was lost, from its backups in the cloud and in a folder.

    The old machine is shut out from then on. Cut short, run it again: it goes on where it was.
    """
    from beira.backup.key import RecoveryKey
    from beira.host.certificates import trusting
    from beira.node.backup_restore import Wanted
    from beira.node.backup_restore import restore as restored

    if code and not cloud:
        raise Invalid("The cloud's address is missing.", hint="Give --cloud https://….")
    text = recovery_key or typer.prompt("Recovery key", hide_input=True)
    wanted = Wanted(
        data=data,
        url=cloud,
        code=code,
        key=RecoveryKey.read(_text_of(text)),
        place=place,
        key_from=key_from,
        ssl=trusting(ca, client_cert, client_key),
    )
    _quietly()
    with _bar() as bar:
        task = bar.add_task("Procurando", total=None)

        def show(what: str, pulled: Any, total: int) -> None:
            bar.update(task, description=what, completed=pulled.done_bytes, total=total)

        done = asyncio.run(restored(wanted, show))
    _told(done, data, key_from)


def _told(done: Restored, data: Path, key_from: str) -> None:
    given, taken = done.me.enrolled, datetime.fromtimestamp(done.taken_ms / 1000)
    console.print(f"This is now {given.name} of {given.tenant_name}, as of {taken:%Y-%m-%d %H:%M}.")
    console.print(
        f"{done.size_bytes / 1e6:,.1f} MB, verified. What was sent since comes back by sync."
    )
    if done.skipped:
        console.print(
            f"[yellow]{done.skipped} newer backups were damaged, and passed over.[/yellow]"
        )
    if done.apps_missing:
        console.print(f"[yellow]Apps to install: {', '.join(done.apps_missing)}[/yellow]")
    command = _command(done.options, data, key_from)
    console.print(f"Start it: {command}", markup=False, highlight=False, soft_wrap=True)


def _command(options: dict[str, Any], data: Path, key_from: str) -> str:
    """How the node was started, for its new folder."""
    words = ["beira", "node", "run", "--data", str(data)]
    if key_from:
        words += ["--key-from", key_from]
    for name, value in options.items():
        option = "--" + _SHOWN_AS.get(name, name.replace("_", "-").removesuffix("s"))
        if name in _NOT_SHOWN or not value:
            continue
        if value is True:
            words.append(option)
        else:
            for one in value if isinstance(value, list) else [value]:
                words += [option, str(one)]
    return shlex.join(words)


def _make(plan: BackupPlan) -> None:
    from beira.node.backup import back_up

    _quietly()
    with _bar() as bar:
        task = bar.add_task("Lendo", total=None)

        def show(place: str, made: Any, total: int) -> None:
            bar.update(task, description=place, completed=made.read_bytes, total=total)

        asyncio.run(back_up(plan, show, spare=False))


def _show(data: Path) -> bool:
    """A line for each place; whether any has an error."""
    from beira.node import backup_files

    told = backup_files.status(data)
    if not backup_files.has_key(data):
        raise Misconfigured(
            "Nothing is backed up: this node has no recovery key yet.",
            code="backup.no_key",
            hint=f"Make one, and write it down: beira node backup-key --data {data}",
        )
    if not told.places:
        raise Conflict(
            "No backup has been made yet.",
            code="backup.none",
            hint=f"The running node makes one soon; or now: beira node backup --now --data {data}",
        )
    for name, place in told.places.items():
        console.print(
            f"{name}: {_when(place.taken_ms)}, {place.size_bytes / 1e6:,.1f} MB, of which "
            f"{place.new_bytes / 1e6:,.1f} MB were new; took {place.took_s:,.1f} s",
            markup=False,
            highlight=False,
        )
        console.print(
            f"  read back {_when(place.read_back_ms)}, checked whole {_when(place.checked_ms)}",
            highlight=False,
        )
        if place.error:
            console.print(f"  {place.error} ({place.code})", style="red", markup=False)
            console.print(f"  → {place.next_step}", markup=False)
    return any(place.error for place in told.places.values())


def _when(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000):%Y-%m-%d %H:%M}" if at_ms else "never"


def _take_key(data: Path, rest: Any, file: Path) -> None:
    from beira.backup.key import RecoveryKey
    from beira.node import backup_files

    given = RecoveryKey.read(_text_of(f"@{file}"))
    if backup_files.has_key(data) and backup_files.read_key(data, rest.files) != given.secret:
        raise Conflict(
            "This node has another recovery key, and its backups are under that.",
            code="backup.key_there",
            hint="Show it without --use, and keep it for as long as those backups.",
        )
    backup_files.write_key(data, rest.files, given.secret)


def _text_of(text: str) -> str:
    """The key itself, or what is in the file after an @."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise Invalid(f"{text[1:]} cannot be read: {error.strerror}.") from None


def _bar() -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _quietly() -> None:
    from beira.host.logs import configure_logs

    configure_logs(Path(os.devnull))
