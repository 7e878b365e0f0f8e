"""What the command line asks of a running node, at its address."""

from __future__ import annotations

import asyncio
import http.client
import os
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from beira.kernel import limits
from beira.kernel.errors import BeiraError, Corrupt, Invalid, NotFound, Unavailable
from beira.node.report import NodeStatusReport

T = TypeVar("T")
DEMO_NODES = Path(".demo/nodes.json")
DEFAULT = "http://127.0.0.1:8700"


class Answer(msgspec.Struct):
    """What the assistant heard, and answered."""

    heard: str = ""
    show: str = ""
    understood: bool = False


def address_of(node: str) -> str:
    """A node's address: as given, by its name in the demonstration, its first, or this machine's."""
    if node.startswith(("http://", "https://")):
        return node.rstrip("/")
    names = _demo_nodes()
    if not node:
        return next(iter(names.values()), DEFAULT)
    for name, address in names.items():
        if node.casefold() in (name.casefold(), address):
            return address
    known = ", ".join(names) or "none: the demonstration is not running here"
    raise NotFound(
        f"There is no node {node!r}.",
        hint=f"Give an address, such as {DEFAULT}. Nodes of the demonstration: {known}.",
    )


async def status(address: str) -> NodeStatusReport:
    """How the node is."""
    return await _ask("GET", address + "/node/status", NodeStatusReport)


async def say(address: str, text: str, wav: Path | None) -> Answer:
    """Say `text`, or what the recording says, to the node's assistant. What is said from one
    terminal is one conversation, so that a question of hers can be answered."""
    session = f"cli-{os.getppid()}"
    if wav is None and not text.strip():
        raise Invalid("There is nothing to say.", hint='beira say "que horas são", or --wav FILE.')
    if wav is None:
        body = msgspec.json.encode({"text": text, "door": "cli", "session": session})
        return await _ask("POST", address + "/balcao/say", Answer, body, "application/json")
    try:
        audio = wav.read_bytes()
    except OSError as error:
        raise Invalid(f"{wav} cannot be read: {error.strerror}.", hint="Give a WAV file.") from None
    return await _ask("POST", f"{address}/balcao/wav?session={session}", Answer, audio, "audio/wav")


def _demo_nodes() -> dict[str, str]:
    try:
        return msgspec.json.decode(DEMO_NODES.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError):
        return {}


async def _ask(
    method: str, url: str, kind: type[T], body: bytes | None = None, media_type: str = ""
) -> T:
    headers = {"Content-Type": media_type} if media_type else {}
    try:
        status, data = await asyncio.to_thread(_answer, method, url, body, headers)
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise Unavailable(
            f"No node answers at {url}: {error or 'timeout'}.",
            code="node.unreachable",
            hint="Start one (make run, or beira node run), or name another with --node.",
        ) from None
    if status >= 400:
        raise _told(status, data)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{url} answered something else: {error}.") from None


def _answer(
    method: str, url: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes]:
    """Status and body. The plain client of Python's own: a command should answer at once, and the
    one that syncs takes longer to load than a node takes to answer."""
    place = urlsplit(url)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname or "", place.port, timeout=limits.ASK_TIMEOUT_S)
    try:
        path = place.path + (f"?{place.query}" if place.query else "")
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _told(status: int, data: bytes) -> BeiraError:
    try:
        told = msgspec.json.decode(data, type=dict[str, object])
    except msgspec.MsgspecError:
        told = {}
    if not told.get("message") or told.get("code") == "not_found":
        return NotFound(
            f"What answers there is no node that can do this ({status}).",
            code="node.refused",
            hint="Give --node the address that beira node run printed; speaking wants the voice app.",
        )
    return Invalid(
        str(told.get("message") or f"The node answered {status}."),
        code=str(told.get("code") or "node.refused"),
        hint=str(told.get("hint") or ""),
    )
