"""Serving HTTP as one task among others: the program owns the port, the signals and the end."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterator

import uvicorn
from litestar import Litestar
from litestar.exceptions import PermissionDeniedException
from litestar.types import ASGIApp, Receive, Scope, Send

from beira.host.listen import Listen
from beira.host.sockets import Socket
from beira.kernel import limits
from beira.kernel.errors import Misconfigured

_PORT = re.compile(r":\d*\Z")


def own_names(listen: Listen, more: tuple[str, ...] = ()) -> list[str]:
    """The host names by which a page here may be called. A site on the internet whose name was made
    to point here (DNS rebinding) is none of them."""
    name = socket.gethostname()
    names = {"localhost", "127.0.0.1", "[::1]", listen.host, name, f"{name}.local", *more}
    if not listen.is_loopback:
        with contextlib.suppress(OSError):
            names |= {str(info[4][0]).split("%")[0] for info in socket.getaddrinfo(name, None)}
        names |= _addresses()
    return sorted(f"[{n}]" if ":" in n and not n.startswith("[") else n for n in names if n)


def answering_to(names: Collection[str]) -> Callable[[ASGIApp], ASGIApp]:
    """A middleware that refuses requests for any other name. The port is left out of account: behind
    a proxy, or of a container, it is not ours."""
    known = frozenset(name.lower() for name in names)

    def around(app: ASGIApp) -> ASGIApp:
        async def checked(scope: Scope, receive: Receive, send: Send) -> None:
            called = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
            if _PORT.sub("", called) not in known:
                raise PermissionDeniedException(
                    "This node has another name. Use one of its own, or start it with --name."
                )
            await app(scope, receive, send)

        return checked

    return around


def _addresses() -> set[str]:
    """The address this machine would speak from on its network; no packet is sent to learn it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return {str(probe.getsockname()[0])}
    return set()


def bind(listen: Listen) -> socket.socket:
    """A listening socket. Raises Misconfigured for a port in use or an address that is not ours."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that say they are TCP; without it answers wait 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((listen.host, listen.port))
    except OSError as error:
        bound.close()
        raise Misconfigured(
            f"Cannot listen on {listen.host}:{listen.port}: {error.strerror}.",
            code="listen.failed",
            hint="Stop what uses it, or choose another with --port.",
        ) from None
    bound.listen(limits.BACKLOG)
    return bound


def tls_context(listen: Listen) -> ssl.SSLContext | None:
    """TLS 1.3 from the certificate and key given, or None. Raises Misconfigured."""
    if listen.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        if listen.key is None or listen.files is None:
            context.load_cert_chain(listen.certificate, listen.key)
        else:
            with listen.files.as_file(listen.key) as key:
                context.load_cert_chain(listen.certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"The certificate {listen.certificate} cannot be used: {error}.",
            code="tls.certificate",
            hint="Give --tls-cert and --tls-key in PEM form, or --tls-self-signed.",
        ) from None
    return context


@contextlib.asynccontextmanager
async def serving(app: Litestar, listen: Listen) -> AsyncIterator[str]:
    """Serve `app` while the context lasts; gives the address, such as `http://127.0.0.1:8400`.

    At the end open requests get a few seconds, WebSockets are closed and streams cancelled.
    """
    bound = bind(listen)
    context = tls_context(listen)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        http="httptools",
        ws=Socket,
        ws_ping_interval=limits.PING_EVERY_S,
        ws_ping_timeout=limits.PING_EVERY_S,
        ws_max_size=limits.MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=limits.SERVER_STOP_S,
        limit_concurrency=limits.CONNECTIONS,
        server_header=False,
        proxy_headers=False,
    )
    config.load()
    config.ssl = context
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if task.done():
            await task
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        yield f"{listen.scheme}://{host}:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        bound.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The program handles signals, not the server."""
        yield
