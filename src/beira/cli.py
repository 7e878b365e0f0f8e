"""The `beira` command: the demonstration, the two programs, and what one asks of them by hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import beira
from beira.node.backup_commands import add_to
from beira.node.process import failing_plainly, run_until_told

if TYPE_CHECKING:
    import asyncio

    from rich.console import Console


class _Console:
    """rich's, which takes long to import: this turns into it when something is first shown."""

    def __getattr__(self, name: str) -> Any:
        from rich.console import Console

        self.__class__ = Console  # type: ignore[assignment]
        Console.__init__(self)  # type: ignore[arg-type]
        return getattr(self, name)


console: Console = _Console()  # type: ignore[assignment]


def escape(text: str) -> str:
    """`text` as rich prints it, whatever brackets it holds."""
    from rich.markup import escape as escaped

    return escaped(text)


def _print_json(shown: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(shown)).decode())


app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Software that works offline first."
)
node_app = typer.Typer(no_args_is_help=True, help="The program on the device.")
cloud_app = typer.Typer(
    no_args_is_help=True, help="The service that collects, distributes and shows."
)
add_to(node_app)
app.add_typer(node_app, name="node")
app.add_typer(cloud_app, name="cloud")

Data = Annotated[
    Path,
    typer.Option("--data", envvar="BEIRA_DATA", help="The folder that holds everything it keeps."),
]
HostName = Annotated[
    str, typer.Option("--host", envvar="BEIRA_HOST", help="The address to listen on.")
]
Port = Annotated[int, typer.Option("--port", envvar="BEIRA_PORT", help="The port to listen on.")]
Certificate = Annotated[
    Path | None, typer.Option("--tls-cert", help="A certificate chain in PEM form.")
]
Key = Annotated[Path | None, typer.Option("--tls-key", help="The certificate's key in PEM form.")]
SelfSigned = Annotated[
    bool, typer.Option("--tls-self-signed", help="Make a certificate for this LAN.")
]
Address = Annotated[
    str, typer.Option("--node", envvar="BEIRA_NODE", help="A node's address or name.")
]
KeyFrom = Annotated[
    str,
    typer.Option(
        "--key-from",
        envvar="BEIRA_KEY_FROM",
        help="Where the key of an encrypted node is: file:PATH, env:NAME, keyring:SERVICE/NAME, "
        "credential:NAME.",
    ),
]
Origins = Annotated[
    list[str] | None, typer.Option("--origin", help="A page's origin that may call the API.")
]
Proxies = Annotated[
    list[str] | None, typer.Option("--proxy", help="A reverse proxy's address to believe.")
]
MetricsFrom = Annotated[
    list[str] | None,
    typer.Option("--metrics-from", help="A network that may read /metrics, besides this machine."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON, for programs.")]
Apps = Annotated[list[str] | None, typer.Option("--app", help="Only these apps; all by default.")]
CaFile = Annotated[Path | None, typer.Option("--ca", help="Trust this certificate for the cloud.")]
ClientCert = Annotated[
    Path | None, typer.Option("--client-cert", help="Show this certificate to a proxy that asks.")
]
ClientKey = Annotated[Path | None, typer.Option("--client-key", help="Its key in PEM form.")]
DatabaseUrl = Annotated[
    str,
    typer.Option(envvar="DATABASE_URL", help="The database, postgresql://…; else one in --data."),
]
OwnerUrl = Annotated[
    str,
    typer.Option(
        envvar="DATABASE_OWNER_URL", help="The same, for who owns the tables, if another."
    ),
]
BackupTo = Annotated[
    Path | None,
    typer.Option("--backup-to", envvar="BEIRA_BACKUP_TO", help="A folder on another disk."),
]
BackupCloud = Annotated[bool, typer.Option(help="Keep backups in the cloud, sealed.")]
BackupEvery = Annotated[
    float, typer.Option("--backup-every", min=0.01, help="Hours from one backup to the next.")
]


@app.command()
def demo(
    data: Data = Path(".demo"),
    port: Annotated[int, typer.Option(help="The first of the ports to use.")] = 8400,
) -> None:
    """Run a cloud, its portal and three shops on this machine."""
    import contextlib

    from beira.demo.program import running

    async def main(stop: asyncio.Event) -> None:
        with console.status("Preparando a demonstração…"):
            stack = contextlib.AsyncExitStack()
            running_demo = await stack.enter_async_context(running(data, port))
        async with stack:
            _show_demo(running_demo)
            await stop.wait()
            console.print("Parando…")

    run_until_told(main, logs=data / "cloud.log")


def _show_demo(running_demo: Any) -> None:
    from rich.table import Table

    table = Table(title="Beira", show_header=False, title_justify="left")
    table.add_row("Demonstração", f"[bold]{running_demo.page}[/bold]  (os cabos de rede)")
    table.add_row("Portal", f"[bold]{running_demo.portal}[/bold]")
    for sign_in in running_demo.sign_ins:
        table.add_row(f"  {sign_in.tenant}", f"{sign_in.email}   senha: {sign_in.password}")
    for node in running_demo.nodes:
        table.add_row(node.shop.name, f"[bold]{node.address}/balcao[/bold]")
    console.print(table)
    console.print('Em outro terminal: beira say "registrar ponto do João Silva às 14:30"')
    console.print("Ctrl-C termina; os dados ficam. `make clean-demo` os esquece.")


@app.command()
def say(
    text: Annotated[str, typer.Argument(help="What to say.")] = "",
    wav: Annotated[Path | None, typer.Option(help="Say what this recording says.")] = None,
    node: Address = "",
) -> None:
    """Say something to a node's assistant, and print its answer.

    When she asks something back, say the answer the same way.
    """
    import asyncio

    from beira.node import asking

    answer = asyncio.run(asking.say(asking.address_of(node), text, wav))
    console.print(f"[dim]{escape(answer.heard)}[/dim]")
    console.print(f"[bold]{escape(answer.show)}[/bold]")
    raise typer.Exit(0 if answer.understood else 1)


@node_app.command("run")
def node_run(
    data: Data = Path("/var/lib/beira-node"),
    host: HostName = "127.0.0.1",
    port: Port = 8700,
    cloud: Annotated[
        str, typer.Option(help="The cloud's address, if not that of its enrolment.")
    ] = "",
    http_only: Annotated[bool, typer.Option(help="Use no WebSocket.")] = False,
    metered: Annotated[
        bool, typer.Option(help="Each byte costs: what is not critical waits for company.")
    ] = False,
    name: Annotated[
        list[str] | None, typer.Option(help="A further host name its pages may be called by.")
    ] = None,
    tls_cert: Certificate = None,
    tls_key: Key = None,
    tls_self_signed: SelfSigned = False,
    ca: CaFile = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    origin: Origins = None,
    proxy: Proxies = None,
    metrics_from: MetricsFrom = None,
    apps: Apps = None,
    key_from: KeyFrom = "",
    backup_to: BackupTo = None,
    backup_cloud: BackupCloud = True,
    backup_every: BackupEvery = 6.0,
) -> None:
    """Run this node."""
    from beira.node.__main__ import NodeOptions, become

    become(
        NodeOptions(
            data=str(data),
            host=host,
            port=port,
            cloud=cloud,
            http_only=http_only,
            metered=metered,
            names=tuple(name or ()),
            tls_cert=str(tls_cert or ""),
            tls_key=str(tls_key or ""),
            tls_self_signed=tls_self_signed,
            ca=str(ca or ""),
            client_cert=str(client_cert or ""),
            client_key=str(client_key or ""),
            apps=tuple(apps or ()),
            key_from=key_from,
            origins=tuple(origin or ()),
            proxies=tuple(proxy or ()),
            metrics_from=tuple(metrics_from or ()),
            backup_to=str(backup_to or ""),
            backup_cloud=backup_cloud,
            backup_every_s=round(backup_every * 3_600),
        )
    )


@node_app.command("enrol")
def node_enrol(
    url: Annotated[str, typer.Argument(help="The cloud's address.")],
    code: Annotated[str, typer.Argument(help="The one-time code from the portal.")],
    data: Data = Path("/var/lib/beira-node"),
    ca: CaFile = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    again: Annotated[
        bool, typer.Option(help="Let this node in anew, by a code made for it; its data stays.")
    ] = False,
    key_from: KeyFrom = "",
) -> None:
    """Make this machine a node, with a one-time code from the portal.

    With --key-from its data is encrypted, and the key made where there is none.
    """
    from beira.host.certificates import trusting
    from beira.node.program import enrol

    ssl = trusting(ca, client_cert, client_key)
    me = _asked(enrol(data, url, code, ssl=ssl, again=again, key_from=key_from)).enrolled
    console.print(f"This is now [bold]{me.name}[/bold] of {me.tenant_name}, at {me.site_name}.")
    console.print(f"Start it: beira node run --data {data}")
    console.print(f"For backups, make its recovery key: beira node backup-key --data {data}")


@node_app.command("rekey")
def node_rekey(
    data: Data = Path("/var/lib/beira-node"),
    to: Annotated[
        str, typer.Option(help="Where the key is to be from now on; by default where it is.")
    ] = "",
    key_from: KeyFrom = "",
) -> None:
    """Put a stopped node's data under a new key; encrypt it, if it was not.

    Cut short, it has changed nothing that matters: run it again.
    """
    from beira.node.at_rest import rekey

    with console.status("Encrypting…"):
        where = rekey(data, to, key_from)
    console.print(f"All of {escape(str(data))} is under a new key now: {escape(where)}")
    console.print("Copies made before need the old key. Keep both apart from the data.")


@node_app.command("repair")
def node_repair(
    data: Data = Path("/var/lib/beira-node"), apps: Apps = None, key_from: KeyFrom = ""
) -> None:
    """Save what can be read of a stopped node's damaged database; the damaged file is kept."""
    from beira.host.apps import installed
    from beira.node.repair import repair

    with console.status("Reading…"):
        done = _asked(repair(data, installed(tuple(apps or ())).collections, key_from))
    if done.aside is None:
        console.print("The database is whole: nothing was done.")
        return
    console.print(f"{done.saved.rows} rows were saved. The damaged file is now {done.aside}")
    for table in done.saved.damaged:
        console.print(f"[yellow]Not all of {escape(table)} could be read.[/yellow]")
    if done.saved.unsent_lost:
        console.print(f"[red]{done.saved.unsent_lost} rows the cloud did not have are lost.[/red]")
    if done.logged_again:
        console.print(f"{done.logged_again} rows will be sent again, in case the cloud lacks them.")
    console.print(f"→ {escape(done.next_step)}", highlight=False)


@node_app.command("status")
def node_status(node: Address = "", as_json: AsJson = False) -> None:
    """Show how a node is: its link, what waits by lane, and what to do about errors."""
    import asyncio

    from beira.node import asking

    report = asyncio.run(asking.status(asking.address_of(node)))
    if as_json:
        _print_json(report)
        return
    from beira.node.shown import lines, table

    console.print(table(report))
    for line in lines(report):
        console.print(escape(line), highlight=False)
    if report.last_error:
        console.print(f"[red]{escape(report.last_error)}[/red] {escape(report.next_step)}")


@node_app.command("doctor")
def node_doctor(data: Data = Path("/var/lib/beira-node"), apps: Apps = None) -> None:
    """Say what a node has, what is missing, and how to get it."""
    from beira.node.doctor import diagnose

    findings = _asked(diagnose(data, tuple(apps or ())))
    for finding in findings:
        mark = "[green]ok[/green]  " if finding.ok else "[red]no[/red]  "
        console.print(f"{mark}{escape(finding.name)}: {escape(finding.what)}")
        if finding.next_step:
            console.print(f"      [yellow]{escape(finding.next_step)}[/yellow]")
    raise typer.Exit(0 if all(f.ok for f in findings) else 1)


@cloud_app.command("run")
def cloud_run(
    data: Data = Path("/var/lib/beira-cloud"),
    host: HostName = "127.0.0.1",
    port: Port = 8600,
    database_url: DatabaseUrl = "",
    owner_url: OwnerUrl = "",
    public_url: Annotated[
        str,
        typer.Option(
            envvar="BEIRA_PUBLIC_URL",
            help="The address that nodes and people find it by, for codes and invitations; "
            "by default http://localhost:PORT, which only this machine can use.",
        ),
    ] = "",
    origin: Origins = None,
    proxy: Proxies = None,
    metrics_from: MetricsFrom = None,
    blobs: Annotated[
        str,
        typer.Option(
            envvar="BEIRA_BLOBS",
            help="Where files are kept: a folder, or s3://bucket/prefix; in --data by default.",
        ),
    ] = "",
    tls_cert: Certificate = None,
    tls_key: Key = None,
    tls_self_signed: SelfSigned = False,
    apps: Apps = None,
) -> None:
    """Run one replica of the cloud; without DATABASE_URL an embedded PostgreSQL runs in --data."""
    from beira.cloud.program import CloudConfig, running
    from beira.host.certificates import self_signed
    from beira.host.serve import Listen

    if tls_self_signed:
        tls_cert, tls_key = self_signed(data)
    config = CloudConfig(
        data=data,
        listen=Listen(host, port, tls_cert, tls_key),
        database_url=database_url,
        owner_url=owner_url,
        public_url=public_url,
        origins=tuple(origin or ()),
        proxies=tuple(proxy or ()),
        metrics_from=tuple(metrics_from or ()),
        blobs=blobs,
        apps=tuple(apps or ()),
    )

    async def main(stop: asyncio.Event) -> None:
        async with running(config) as (cloud, address):
            print(f"Cloud: {address}", file=sys.stderr, flush=True)
            await cloud.opening.until(stop)

    run_until_told(main)


@cloud_app.command("status")
def cloud_status(
    data: Data = Path("/var/lib/beira-cloud"),
    replica: Annotated[
        list[str] | None,
        typer.Option(
            "--replica", help="A replica's address to ask; that of this machine by default."
        ),
    ] = None,
    database_url: DatabaseUrl = "",
    owner_url: OwnerUrl = "",
    apps: Apps = None,
    as_json: AsJson = False,
) -> None:
    """Show how the cloud is, at its machine: replicas, nodes, what waits, was refused or came late.

    Ends with 1 if a replica asked is not well or a node keeps fewer than 99 % of its deadlines.
    """
    from beira.cloud.program import CloudConfig
    from beira.cloud.status import look, shown
    from beira.host.serve import Listen

    config = CloudConfig(
        data, Listen(), database_url=database_url, owner_url=owner_url, apps=tuple(apps or ())
    )
    status = _asked(look(config, replica or ["http://127.0.0.1:8600"]))
    if as_json:
        _print_json(status)
    else:
        console.print(shown(status))
    raise typer.Exit(0 if status.good else 1)


@cloud_app.command("first-owner")
def cloud_first_owner(
    tenant: Annotated[str, typer.Argument(help="The first tenant's name.")],
    email: Annotated[str, typer.Argument(help="Its owner's e-mail.")],
    data: Data = Path("/var/lib/beira-cloud"),
    database_url: DatabaseUrl = "",
    owner_url: OwnerUrl = "",
) -> None:
    """Make the first tenant and its owner in an empty cloud; prints a password made up for it."""
    from beira.cloud.program import CloudConfig, first_owner
    from beira.host.serve import Listen

    config = CloudConfig(data, Listen(), database_url=database_url, owner_url=owner_url)
    made = _asked(first_owner(config, tenant, email))
    console.print(f"{made.email}   password: [bold]{made.password}[/bold]", highlight=False)
    console.print("It is shown only now. Sign in, and change it under your account.")


@cloud_app.command("reset-password")
def cloud_reset_password(
    email: Annotated[str, typer.Argument(help="Whose password.")],
    data: Data = Path("/var/lib/beira-cloud"),
    database_url: DatabaseUrl = "",
    owner_url: OwnerUrl = "",
) -> None:
    """Set a new password for somebody, at the cloud's machine; asks for it twice.

    All their sessions end, and their second factor goes off. The cloud may be running.
    """
    from beira.cloud.program import CloudConfig, reset_password
    from beira.host.serve import Listen

    password = typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    config = CloudConfig(data, Listen(), database_url=database_url, owner_url=owner_url)
    _asked(reset_password(config, email, password))
    console.print(f"{escape(email)} has a new password; all sessions were ended.")


@cloud_app.command("move")
def cloud_move(
    to: Annotated[str, typer.Argument(help="The new database's URL, for the program.")],
    to_owner: Annotated[
        str, typer.Option(help="The new database's URL, for who makes its tables.")
    ] = "",
    data: Data = Path("/var/lib/beira-cloud"),
    database_url: DatabaseUrl = "",
    owner_url: OwnerUrl = "",
    apps: Apps = None,
) -> None:
    """Move the cloud to another PostgreSQL: copy, compare, switch.

    The cloud may be running. Nobody can write while it lasts; nodes send what they hold afterwards.
    """
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from beira.cloud.moving import Database, move_database

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("Looking…", total=None)

        def show(table: str, done: int, total: int) -> None:
            bar.update(task, description=table or "Compared", completed=done, total=total)

        moved = _asked(
            move_database(
                data,
                tuple(apps or ()),
                Database(database_url, owner_url),
                Database(to, to_owner),
                show,
            )
        )
    console.print(f"{moved.rows:,} rows in {moved.tables} tables are equal on both sides.")
    console.print("The old database takes no more writes. Restart every replica of the cloud now;")
    console.print("on other machines, and wherever DATABASE_URL is set, give it the new address.")


def version(wanted: bool) -> None:
    if wanted:
        console.print(beira.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True)] = False,
) -> None:
    """Options of the command as a whole."""


def _asked(work: Coroutine[Any, Any, Any]) -> Any:
    """Run something short, its logs quiet."""
    import asyncio

    from beira.host.logs import configure_logs

    configure_logs(Path(os.devnull))
    return asyncio.run(work)


def main() -> None:
    """The entry point."""
    with failing_plainly():
        app()


if __name__ == "__main__":
    main()
