"""Links a node has to the cloud: a WebSocket, or plain HTTP where that is blocked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

from beira.kernel import limits
from beira.kernel.errors import BeiraError, Denied, Unauthenticated, Unavailable
from beira.kernel.wire import Confirm, Got, Hello, Wire
from beira.later import loaded_later
from beira.sync.brief import NO_SHELF, BriefCodec
from beira.sync.codec import Codec, PackedCodec
from beira.sync.dictionaries.node import NodeDictionaries

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = loaded_later("aiohttp")

log = structlog.get_logger(__name__)
SOCKET_PATH = "/sync/v1/ws"
EXCHANGE_PATH = "/sync/v1/exchange"
WAIT_PATH = "/sync/v1/wait"
DICTIONARY_PATH = "/sync/v1/dictionaries/"


class TokenSource(Protocol):
    """Gives bearer tokens that are still good."""

    async def __call__(self) -> str: ...

    def forget(self) -> None:
        """The cloud refused the last one: another is wanted next time."""
        ...


class Link(Protocol):
    """A connection to the cloud. Any method may raise Unavailable; then the link is over."""

    name: str

    async def send(self, messages: Sequence[Wire]) -> int:
        """Send, and say how many bytes it took."""
        ...

    async def receive(self) -> list[Wire]:
        """The next messages; waits for them."""
        ...

    async def close(self) -> None: ...


class Connector(Protocol):
    """Makes links. `hello` presents the node anew for links that have no memory."""

    async def connect(self, hello: Callable[[], Hello]) -> Link: ...

    async def close(self) -> None: ...


class CloudConnector:
    """Connects to `url` by WebSocket, or by HTTP after a proxy has refused or broken the WebSocket.
    `dictionaries` are what small messages are compressed with besides what comes with Beira.

    Raises from `connect`: Unauthenticated and Denied as the cloud says, Unavailable when it cannot be
    reached.
    """

    def __init__(
        self,
        url: str,
        token: TokenSource,
        *,
        ssl: object = True,
        http_only: bool = False,
        dictionaries: NodeDictionaries | None = None,
    ) -> None:
        self._dictionaries = dictionaries
        self._fetching: asyncio.Task[None] | None = None
        self._url = url.rstrip("/")
        self._token = token
        self._ssl = ssl
        self._http_only = http_only
        self._socket_blocked_until_s = 0.0
        self._last_socket: SocketLink | None = None
        self._session: aiohttp.ClientSession | None = None
        self._codec: Codec = PackedCodec()

    async def connect(self, hello: Callable[[], Hello]) -> Link:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._ssl))  # type: ignore[arg-type]
        headers = {"Authorization": f"Bearer {await self._token()}"}
        now_s = asyncio.get_running_loop().time()
        deaf = self._last_socket is not None and not self._last_socket.heard
        self._last_socket = None
        if not (self._http_only or deaf) and now_s >= self._socket_blocked_until_s:
            try:
                self._last_socket = await self._socket(self._session, headers)
                self._follow(self._session, headers)
                return self._last_socket
            except _SocketBlocked as error:
                log.warning("sync.socket_blocked", why=str(error), fallback="http")
        return HttpLink(
            self._session,
            self._url,
            headers,
            self._codec,
            hello,
            refusal=self._refusal,
            works=self._http_works,
        )

    async def close(self) -> None:
        self._stop_fetching()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _follow(self, session: aiohttp.ClientSession, headers: dict[str, str]) -> None:
        """Beside the session, fetch the dictionary its welcome may offer."""
        self._stop_fetching()
        if self._dictionaries is not None:
            get = partial(_dictionary, session, self._url + DICTIONARY_PATH, headers)
            self._fetching = asyncio.create_task(self._dictionaries.follow(get))

    def _stop_fetching(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None

    def _refusal(self, status: int) -> BeiraError:
        self._token.forget()
        hint = "If it stays so, enrol the node again: beira node enrol."
        if status == 401:
            return Unauthenticated("The cloud does not know this node's token.", hint=hint)
        return Denied("The cloud refuses this node.", hint=hint)

    def _http_works(self) -> None:
        """Where HTTP was needed and works, the WebSocket is not tried again for a while."""
        now_s = asyncio.get_running_loop().time()
        self._socket_blocked_until_s = now_s + limits.SOCKET_AGAIN_S

    async def _socket(self, session: aiohttp.ClientSession, headers: dict[str, str]) -> SocketLink:
        shelf = NO_SHELF if self._dictionaries is None else self._dictionaries
        if self._dictionaries is not None:
            await self._dictionaries.load()
        try:
            async with asyncio.timeout(limits.CONNECT_TIMEOUT_S):
                socket = await session.ws_connect(
                    self._url + SOCKET_PATH,
                    headers=headers,
                    protocols=(BriefCodec.name, self._codec.name),
                    max_msg_size=limits.MESSAGE_BYTES,
                    heartbeat=limits.PING_EVERY_S,
                )
        except aiohttp.WSServerHandshakeError as error:
            # Proxies refuse with any status, 403 and 502 among them: HTTP will tell who it was.
            raise _SocketBlocked(f"HTTP {error.status}") from None
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, TimeoutError) as error:
            raise _SocketBlocked(f"cut off: {error or 'timeout'}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"The cloud cannot be reached: {error}.") from None
        if socket.protocol == BriefCodec.name:
            return SocketLink(socket, BriefCodec(is_node=True, shelf=shelf))
        if socket.protocol != self._codec.name:
            await socket.close()
            raise _SocketBlocked("no subprotocol")
        return SocketLink(socket, self._codec)


async def _dictionary(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], number: int
) -> bytes:
    timeout = aiohttp.ClientTimeout(total=limits.SILENCE_TIMEOUT_S)
    try:
        async with session.get(f"{url}{number}", headers=headers, timeout=timeout) as response:
            if response.status != HTTPStatus.OK:
                raise Unavailable(f"The cloud answered {response.status}.")
            data = b""
            async for piece in response.content.iter_any():
                data += piece
                if len(data) > limits.DICTIONARY_BYTES:
                    break
            return data
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unavailable(f"The cloud cannot be reached: {error or 'timeout'}.") from None


class SocketLink:
    """A WebSocket: one frame holds a list of messages. `heard`: anything came through it; some
    proxies let it be opened and then pass nothing on."""

    name = "websocket"

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, codec: Codec) -> None:
        self._socket = socket
        self._codec = codec
        self.heard = False

    async def send(self, messages: Sequence[Wire]) -> int:
        data = self._codec.encode(messages)
        try:
            await self._socket.send_bytes(data)
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"The link broke: {error}.") from None
        return len(data)

    async def receive(self) -> list[Wire]:
        try:
            frame = await self._socket.receive()
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"The link broke: {error}.") from None
        if frame.type is aiohttp.WSMsgType.BINARY:
            self.heard = True
            return self._codec.decode(frame.data)
        raise Unavailable("The link was closed.", code="sync.closed")

    async def close(self) -> None:
        await self._socket.close()


class HttpLink:
    """Plain HTTP. An exchange presents the node anew and carries what is to be said; between two of
    them the link waits to hear that there is news. Only the waiting is ever cut short: an exchange
    uses up a ticket, so it must be heard to its end."""

    name = "http"

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: dict[str, str],
        codec: Codec,
        hello: Callable[[], Hello],
        *,
        refusal: Callable[[int], BeiraError],
        works: Callable[[], None],
    ) -> None:
        self._session = session
        self._url = url
        self._codec = codec
        self._headers = headers
        self._refusal = refusal
        self._hello = hello
        self._works = works
        self._outbox: deque[Wire] = deque()
        self._said = asyncio.Event()
        self._exchanging: asyncio.Task[list[Wire]] | None = None
        self._greeted = False

    async def send(self, messages: Sequence[Wire]) -> int:
        """Keeps them for the next exchange; hello and what it implies are made anew there."""
        told = [m for m in messages if not isinstance(m, Hello | Confirm | Got)]
        self._outbox.extend(told)
        if told:
            self._said.set()
        return len(self._codec.encode(told))

    async def receive(self) -> list[Wire]:
        """Wait until there is something to say or to hear, then exchange."""
        if self._greeted and not self._outbox:
            await self._wait()
        self._exchanging = asyncio.ensure_future(self._exchange())
        self._exchanging.add_done_callback(_looked_at)
        return await asyncio.shield(self._exchanging)

    async def close(self) -> None:
        """Let an exchange under way end, so that its ticket is not left in doubt for long."""
        self._outbox.clear()
        if self._exchanging is not None:
            await asyncio.wait({self._exchanging}, timeout=limits.CONNECT_TIMEOUT_S)
            self._exchanging.cancel()

    async def _wait(self) -> None:
        news = asyncio.ensure_future(self._ask_for_news())
        news.add_done_callback(_looked_at)
        said = asyncio.ensure_future(self._said.wait())
        try:
            await asyncio.wait({news, said}, return_when=asyncio.FIRST_COMPLETED)
            if news.done():
                news.result()
        finally:
            news.cancel()
            said.cancel()

    async def _ask_for_news(self) -> None:
        body = msgspec.json.encode(self._hello().cursors)
        await self._post(WAIT_PATH, body, "application/json")

    async def _exchange(self) -> list[Wire]:
        self._said.clear()
        body = self._codec.encode([self._hello(), *self._outbox])
        self._outbox.clear()
        answer = self._codec.decode(await self._post(EXCHANGE_PATH, body, self._codec.media_type))
        self._greeted = True
        self._works()
        return answer

    async def _post(self, path: str, body: bytes, media_type: str) -> bytes:
        headers = self._headers | {"Content-Type": media_type, "Accept": media_type}
        timeout = aiohttp.ClientTimeout(total=limits.SILENCE_TIMEOUT_S)
        try:
            async with self._session.post(
                self._url + path, data=body, headers=headers, timeout=timeout
            ) as response:
                if response.status in (401, 403):
                    raise self._refusal(response.status)
                if response.status != 200:
                    raise Unavailable(f"The cloud answered {response.status}.")
                return await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(f"The cloud cannot be reached: {error or 'timeout'}.") from None


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Whoever waited for it may have gone: its error is no surprise to anybody then."""
    if not task.cancelled():
        task.exception()


class _SocketBlocked(Exception):
    """Something between node and cloud does not let WebSockets through."""
