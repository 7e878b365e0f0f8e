"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
