"""The counter's page on a node: push to talk, type, hear, and see what waits to be sent.

It is made for whoever stands at the counter: nobody signs in, and nothing can be set here. Requests
from other web sites are refused, since the node acts on what it hears.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from jinja2 import Environment, FileSystemLoader, select_autoescape
from litestar import MediaType, Request, Response, WebSocket, get, post, websocket
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect
from litestar.params import JSONBody, PathParameter, QueryParameter
from litestar.response import Stream
from markupsafe import Markup

from beira.apps.voice.edge import VoiceEdge, edge_of
from beira.apps.voice.engines.sound import WAV_BYTES
from beira.apps.voice.engines.visit import MESSAGE_BYTES, Visit
from beira.apps.voice.engines.vocabulary import examples
from beira.apps.voice.pipeline import Tell
from beira.apps.voice.settings import VoiceSettings
from beira.sdk import BeiraError, Denied, Host, Invalid, Lane, ms_of

HERE = Path(__file__).parent
LANGUAGES = ("pt-BR", "en")
TEXT_CHARS = 300
VISITS = 16
STREAMS = 32
SYNC_EVERY_S = 2.0
TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


Lang = Annotated[str, QueryParameter(name="lang", max_length=16)]
Session = Annotated[str, QueryParameter(name="session", max_length=64)]


class Typed(msgspec.Struct, forbid_unknown_fields=True):
    """What was typed; `session` goes on where that conversation was left."""

    text: str
    door: Literal["text", "cli"] = "text"
    session: str = ""
    language: str = ""


def told(_request: Request[Any, Any, State], error: BeiraError) -> Response[dict[str, str]]:
    """An error as its code, what happened and what to do next."""
    body = {"code": error.code, "message": error.message, "hint": error.hint}
    return Response(body, status_code=error.status)


@get("/balcao", media_type=MediaType.HTML)
async def counter(request: Request[Any, Any, State], lang: Lang = "") -> Response[str]:
    """The page itself."""
    language = _language(lang, request.headers.get("accept-language", ""))
    text = _text(language)
    place = request.app.state.host.place
    html = (
        _templates()
        .get_template("counter.html")
        .render(
            language=language,
            text=text,
            text_json=_for_script(text),
            place=place.name or place.site or place.node,
            examples=await examples(_host(request.app.state), language),
            enrolment=True,
            question_s=(await _host(request.app.state).settings(VoiceSettings)).question_s,
            heard_language=_heard_language(request.app.state, language),
        )
    )
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Permissions-Policy": "microphone=(self)",
        "Vary": "Accept-Language",
    }
    return Response(html, media_type=MediaType.HTML, headers=headers)


@get("/balcao/static/{name:str}", sync_to_thread=False)
def static(
    request: Request[Any, Any, State], name: Annotated[str, PathParameter(max_length=64)]
) -> Response[bytes]:
    """The page's own scripts and styles."""
    found = _files().get(name)
    if found is None:
        return Response(b"", status_code=404, media_type="text/plain")
    content, kind, tag = found
    headers = {"ETag": tag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if request.headers.get("if-none-match") == tag:
        return Response(b"", status_code=304, media_type=kind, headers=headers)
    return Response(content, media_type=kind, headers=headers)


@get("/balcao/sync", exception_handlers={BeiraError: told})
async def sync(request: Request[Any, Any, State]) -> Stream:
    """Live: what waits in each lane, and the link."""
    state = request.app.state
    if state.get("balcao_streams", 0) >= STREAMS:
        raise Denied("Too many pages are open.", hint="Close some of them.")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(_sync_events(state), media_type="text/event-stream", headers=headers)


@websocket("/balcao/ws")
async def talk(socket: WebSocket[Any, Any, State], lang: Lang = "") -> None:
    """Sound and words up, events and sound down; see `engines.visit`."""
    state = socket.app.state
    if not _same_origin(socket) or state.get("balcao_visits", 0) >= VISITS:
        await socket.close(code=4403 if not _same_origin(socket) else 4429)
        return
    await socket.accept()
    state["balcao_visits"] = state.get("balcao_visits", 0) + 1
    language = _language(lang, socket.headers.get("accept-language", ""))
    tell, send = _senders(socket)
    visit = Visit(_edge(state), language, tell, send)
    try:
        await visit.begin()
        while True:
            message: dict[str, Any] = dict(await socket.receive())
            if message["type"] == "websocket.disconnect":
                break
            await visit.receive(message.get("text"), message.get("bytes"))
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        state["balcao_visits"] -= 1
        await visit.end()


@post("/balcao/say", status_code=200, exception_handlers={BeiraError: told})
async def say(request: Request[Any, Any, State], data: JSONBody[Typed]) -> dict[str, Any]:
    """Answer what is typed, as `beira say` does."""
    _require_same_origin(request)
    if not data.text.strip() or len(data.text) > TEXT_CHARS:
        raise Invalid(
            f"A sentence has 1 to {TEXT_CHARS} characters.",
            code="text.length",
            hint="Say one thing at a time.",
        )
    voice = _edge(request.app.state)
    return await voice.say(
        data.text, door=data.door, language=_known(data.language), session=data.session[:64]
    )


@post(
    "/balcao/wav",
    status_code=200,
    request_max_body_size=WAV_BYTES,
    exception_handlers={BeiraError: told},
)
async def wav(
    request: Request[Any, Any, State], session: Session = "", lang: Lang = ""
) -> dict[str, Any]:
    """Hear a WAV file (the request's body) and answer."""
    _require_same_origin(request)
    voice = _edge(request.app.state)
    return await voice.hear_wav(
        await request.body(), door="wav", language=_known(lang), session=session[:64]
    )


pages = [counter, static, sync, talk, say, wav]


def _host(state: State) -> Host:
    """All these pages ask of the program that mounts them: `state.host`, and, for the link's state,
    `state.pending` (async, lane to Pending) and `state.sync_state` (gives something `connected`)."""
    host: Host = state["host"]
    return host


def _edge(state: State) -> VoiceEdge:
    return edge_of(_host(state))


def _heard_language(state: State, language: str) -> str:
    """The language of speech here, or the page's own while that is not known yet."""
    try:
        return _edge(state).heard_language(language)
    except BeiraError:
        return language


async def sync_view(state: State) -> dict[str, Any]:
    """{"link": on, off or unknown, "lanes": {name: {"count", "oldest_s"}}}"""
    host, pending, told = _host(state), state.get("pending"), state.get("sync_state")
    lanes: dict[str, dict[str, float]] = {}
    now_ms = host.now().timestamp() * 1000
    for lane, waiting in (await pending() if pending else {}).items():
        name = Lane(lane).name.lower()
        oldest = waiting.oldest_hlc
        age_s = max(0.0, now_ms - ms_of(oldest)) / 1000 if oldest else 0.0
        lanes[name] = {"count": waiting.count, "oldest_s": round(age_s)}
    link: Literal["on", "off", "unknown"] = "unknown"
    if told is not None:
        link = "on" if told().connected else "off"
    return {"link": link, "lanes": lanes}


async def _sync_events(state: State) -> AsyncIterator[bytes]:
    state["balcao_streams"] = state.get("balcao_streams", 0) + 1
    changed = asyncio.Event()
    stop = _host(state).store.subscribe(lambda _news: changed.set())
    stopping: asyncio.Event | None = state.get("stopping")
    last: bytes = b""
    try:
        while not (stopping and stopping.is_set()):
            changed.clear()
            view = msgspec.json.encode(await sync_view(state))
            yield b"event: sync\ndata: " + view + b"\n\n" if view != last else b": still\n\n"
            last = view
            await _either(changed, stopping, SYNC_EVERY_S)
    finally:
        stop()
        state["balcao_streams"] -= 1


async def _either(changed: asyncio.Event, stopping: asyncio.Event | None, most_s: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (changed, stopping) if event]
    try:
        await asyncio.wait(waits, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _senders(socket: WebSocket[Any, Any, State]) -> tuple[Tell, Callable[[bytes], Awaitable[None]]]:
    """How events and sound go down; once the page is gone they go nowhere, and what was said is
    still carried out and written down."""

    async def tell(event: dict[str, Any]) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await socket.send_data(msgspec.json.encode(event).decode(), mode="text")

    async def send(sound: bytes) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await socket.send_data(sound, mode="binary")

    return tell, send


def _require_same_origin(connection: ASGIConnection[Any, Any, Any, State]) -> None:
    if not _same_origin(connection):
        raise Denied(
            "Another web site asked for this.",
            code="origin.denied",
            hint="Open the node's own page.",
        )


def _same_origin(connection: ASGIConnection[Any, Any, Any, State]) -> bool:
    """Browsers name the site a request comes from; other clients name none."""
    origin = connection.headers.get("origin")
    return not origin or urlsplit(origin).netloc == connection.headers.get("host", "")


def _language(asked: str, accepted: str) -> str:
    if known := _known(asked):
        return known
    for part in accepted.split(",")[:20]:
        start = part.strip().lower()[:2]
        if start in ("pt", "en"):
            return _known(start)
    return LANGUAGES[0]


def _known(asked: str) -> str:
    fitting = [known for known in LANGUAGES if asked and known.lower()[:2] == asked.lower()[:2]]
    return fitting[0] if fitting else ""


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(),
        trim_blocks=True,
    )


@cache
def _text(language: str) -> dict[str, str]:
    path = HERE / "static" / f"text.{language}.json"
    return dict(msgspec.json.decode(path.read_bytes(), type=dict[str, str]))


def _for_script(text: dict[str, str]) -> Any:
    plain = json.dumps(text, ensure_ascii=False)
    return Markup(plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    found = {}
    for path in (HERE / "static").iterdir():
        if path.suffix in TYPES:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
            found[path.name] = (content, TYPES[path.suffix], tag)
    return found


__all__ = ["MESSAGE_BYTES", "BeiraError", "pages", "sync_view"]
