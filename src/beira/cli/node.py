"""`beira node`: the program on the device, and what one does with it by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beira.cli import backup
from beira.cli.options import (
    Address,
    Apps,
    AsJson,
    BackupCloud,
    BackupEvery,
    BackupTo,
    CaFile,
    Certificate,
    ClientCert,
    ClientKey,
    Data,
    HostName,
    Key,
    KeyFrom,
    MetricsFrom,
    Origins,
    Port,
    Proxies,
    SelfSigned,
)
from beira.cli.shown import asked, console, escape, print_json

if TYPE_CHECKING:
    pass

app = typer.Typer(no_args_is_help=True, help="The program on the device.")


@app.command("run")
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


@app.command("enrol")
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
    me = asked(enrol(data, url, code, ssl=ssl, again=again, key_from=key_from)).enrolled
    console.print(f"This is now [bold]{me.name}[/bold] of {me.tenant_name}, at {me.site_name}.")
    console.print(f"Start it: beira node run --data {data}")
    console.print(f"For backups, make its recovery key: beira node backup-key --data {data}")


@app.command("rekey")
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


@app.command("repair")
def node_repair(
    data: Data = Path("/var/lib/beira-node"), apps: Apps = None, key_from: KeyFrom = ""
) -> None:
    """Save what can be read of a stopped node's damaged database; the damaged file is kept."""
    from beira.host.apps import installed
    from beira.node.repair import repair

    with console.status("Reading…"):
        done = asked(repair(data, installed(tuple(apps or ())).collections, key_from))
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


@app.command("status")
def node_status(node: Address = "", as_json: AsJson = False) -> None:
    """Show how a node is: its link, what waits by lane, and what to do about errors."""
    import asyncio

    from beira.node import asking

    report = asyncio.run(asking.status(asking.address_of(node)))
    if as_json:
        print_json(report)
        return
    from beira.node.shown import lines, table

    console.print(table(report))
    for line in lines(report):
        console.print(escape(line), highlight=False)
    if report.last_error:
        console.print(f"[red]{escape(report.last_error)}[/red] {escape(report.next_step)}")


@app.command("doctor")
def node_doctor(data: Data = Path("/var/lib/beira-node"), apps: Apps = None) -> None:
    """Say what a node has, what is missing, and how to get it."""
    from beira.node.doctor import diagnose

    findings = asked(diagnose(data, tuple(apps or ())))
    for finding in findings:
        mark = "[green]ok[/green]  " if finding.ok else "[red]no[/red]  "
        console.print(f"{mark}{escape(finding.name)}: {escape(finding.what)}")
        if finding.next_step:
            console.print(f"      [yellow]{escape(finding.next_step)}[/yellow]")
    raise typer.Exit(0 if all(f.ok for f in findings) else 1)


backup.add_to(app)
