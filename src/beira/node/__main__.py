"""The node in a process of its own, which holds nothing but the node: `beira node run` turns into it.

What reads the command line and prints tables is gone by then: a shop's machine would hold it all day
for nothing. So are packages that others use where they find them (`memory.without`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from beira.kernel import limits
from beira.node import memory
from beira.node.process import failing_plainly, run_until_told

if TYPE_CHECKING:
    import asyncio

    from beira.node.backup_files import BackupPlan
    from beira.node.program import NodeConfig


class NodeOptions(msgspec.Struct, kw_only=True):
    """What `beira node run` was told; a path that was not given is empty."""

    data: str
    host: str
    port: int
    cloud: str = ""
    http_only: bool = False
    metered: bool = False
    names: tuple[str, ...] = ()
    tls_cert: str = ""
    tls_key: str = ""
    tls_self_signed: bool = False
    ca: str = ""
    client_cert: str = ""
    client_key: str = ""
    apps: tuple[str, ...] = ()
    key_from: str = ""
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    metrics_from: tuple[str, ...] = ()
    backup_to: str = ""
    backup_cloud: bool = True
    backup_every_s: int = limits.BACKUP_EVERY_S


def become(options: NodeOptions) -> NoReturn:
    """Turn this process into the node: its id, its environment and its open files stay."""
    here = sys.path[0] in ("", str(Path.cwd()))  # as `python -m` has it, and `beira` has not
    program = [sys.executable, *([] if here else ["-P"]), "-m", "beira.node"]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [*program, msgspec.json.encode(options).decode()])  # noqa: S606


def main(given: str) -> None:
    """Run the node that `given` (NodeOptions as JSON) describes, until a signal ends it."""
    with failing_plainly():
        options = msgspec.json.decode(given, type=NodeOptions)
        memory.sparing()
        memory.loading()
        with memory.without():
            from beira.node.program import running

        config = _config(options)

        async def serve(stop: asyncio.Event) -> None:
            async with running(config) as node:
                print(f"{node.host.place.name}: {node.address}", file=sys.stderr, flush=True)
                await stop.wait()

        run_until_told(serve)


def _config(options: NodeOptions) -> NodeConfig:
    from beira.host.listen import Listen
    from beira.node import at_rest
    from beira.node.program import NodeConfig

    data = Path(options.data)
    certificate, key, files = _path(options.tls_cert), _path(options.tls_key), None
    if options.tls_self_signed:
        from beira.host.certificates import self_signed

        files = at_rest.opened(data, options.key_from).files
        certificate, key = self_signed(data, files)
    return NodeConfig(
        data=data,
        listen=Listen(options.host, options.port, certificate, key, files),
        apps=options.apps,
        cloud=options.cloud,
        http_only=options.http_only,
        metered=options.metered,
        names=options.names,
        ssl=_trusted(options),
        key_from=options.key_from,
        origins=options.origins,
        proxies=options.proxies,
        metrics_from=options.metrics_from,
        backup=_backups(options),
    )


def _trusted(options: NodeOptions) -> object:
    """What the cloud's certificate is checked by."""
    if not (options.ca or options.client_cert or options.client_key):
        return True
    from beira.host.certificates import trusting

    return trusting(_path(options.ca), _path(options.client_cert), _path(options.client_key))


def _backups(options: NodeOptions) -> BackupPlan:
    from beira.node.backup_files import BackupPlan

    return BackupPlan(
        data=str(Path(options.data).absolute()),
        key_from=options.key_from,
        to=str(Path(options.backup_to).absolute()) if options.backup_to else "",
        cloud=options.backup_cloud,
        every_s=options.backup_every_s,
        url=options.cloud,
        ca=options.ca,
        client_cert=options.client_cert,
        client_key=options.client_key,
        options=msgspec.to_builtins(options),
    )


def _path(text: str) -> Path | None:
    return Path(text) if text else None


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Use: beira node run")
    main(sys.argv[1])
