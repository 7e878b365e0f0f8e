"""`beira cloud`: a replica of the service, and what an operator does at its machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beira.cli.options import (
    Apps,
    AsJson,
    Certificate,
    Data,
    DatabaseUrl,
    HostName,
    Key,
    MetricsFrom,
    Origins,
    OwnerUrl,
    Port,
    Proxies,
    SelfSigned,
)
from beira.cli.shown import asked, console, escape, print_json
from beira.node.process import run_until_told

if TYPE_CHECKING:
    import asyncio

app = typer.Typer(no_args_is_help=True, help="The service that collects, distributes and shows.")


@app.command("run")
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
    from beira.host.listen import Listen

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


@app.command("status")
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
    from beira.host.listen import Listen

    config = CloudConfig(
        data, Listen(), database_url=database_url, owner_url=owner_url, apps=tuple(apps or ())
    )
    status = asked(look(config, replica or ["http://127.0.0.1:8600"]))
    if as_json:
        print_json(status)
    else:
        console.print(shown(status))
    raise typer.Exit(0 if status.good else 1)


@app.command("first-owner")
def cloud_first_owner(
    tenant: Annotated[str, typer.Argument(help="The first tenant's name.")],
    email: Annotated[str, typer.Argument(help="Its owner's e-mail.")],
    data: Data = Path("/var/lib/beira-cloud"),
    database_url: DatabaseUrl = "",
    owner_url: OwnerUrl = "",
) -> None:
    """Make the first tenant and its owner in an empty cloud; prints a password made up for it."""
    from beira.cloud.program import CloudConfig, first_owner
    from beira.host.listen import Listen

    config = CloudConfig(data, Listen(), database_url=database_url, owner_url=owner_url)
    made = asked(first_owner(config, tenant, email))
    console.print(f"{made.email}   password: [bold]{made.password}[/bold]", highlight=False)
    console.print("It is shown only now. Sign in, and change it under your account.")


@app.command("reset-password")
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
    from beira.host.listen import Listen

    password = typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    config = CloudConfig(data, Listen(), database_url=database_url, owner_url=owner_url)
    asked(reset_password(config, email, password))
    console.print(f"{escape(email)} has a new password; all sessions were ended.")


@app.command("move")
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

        moved = asked(
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
