"""The `beira` command: the demonstration, the two programs, and what one asks of them by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import beira
from beira.cli.cloud import app as cloud_app
from beira.cli.node import app as node_app
from beira.cli.options import Address, Data
from beira.cli.shown import console, escape
from beira.node.process import failing_plainly, run_until_told

if TYPE_CHECKING:
    import asyncio

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Software that works offline first."
)
app.add_typer(node_app, name="node")
app.add_typer(cloud_app, name="cloud")


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


def version(wanted: bool) -> None:
    if wanted:
        console.print(beira.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True)] = False,
) -> None:
    """Options of the command as a whole."""


def main() -> None:
    """The entry point."""
    with failing_plainly():
        app()
