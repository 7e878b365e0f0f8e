"""What a node with voice takes: a real node that hears real recordings at its own door."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
import urllib.request
import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from beira.apps.voice.records import Person, Product
from beira.host.apps import installed
from benchmarks.node_process import (
    Memory,
    NodeProcess,
    descendants,
    host_in,
    memory_mb,
    running_node,
    settle,
    wait_for,
)
from benchmarks.voice_data import EMPLOYEES, PRODUCTS, Utterance

HEARD = 12
DOUBTFUL = 12
OPINION = "sphinx_child"
ASK_TIMEOUT_S = 60


@dataclass(frozen=True)
class NodeMemory:
    """A node at rest, after clear sentences (without the second opinion's child, if one of them was
    in doubt), and while that child lives; its own MB; and the share of clear sentences understood,
    so that one sees that it heard."""

    rest: Memory
    after: Memory
    with_opinion: Memory
    opinion_mb: float
    understood: float


def node_memory(heard: Sequence[Utterance], doubtful: Sequence[Utterance]) -> NodeMemory:
    """Of a node once its voice is ready, and after it has heard these and then these in noise."""
    with tempfile.TemporaryDirectory(prefix="beira-bench-") as folder:
        data = Path(folder) / "node"
        settle(data)
        asyncio.run(_fill(data))
        with running_node(data, apps=("voice",)) as node:
            wait_for(node, "voice.ready")
            rest = node.memory()
            understood = sum(_say(node, one, number) for number, one in enumerate(heard))
            after = node.memory()
            after = replace(after, family_rss=after.family_rss - _opinion_mb(node))
            for number, one in enumerate(doubtful, len(heard)):
                _say(node, one, number)
            share = understood / max(1, len(heard))
            return NodeMemory(rest, after, node.memory(), _opinion_mb(node), share)


def _opinion_mb(node: NodeProcess) -> float:
    """The second opinion's child: 0 where there is none."""
    return sum(memory_mb(pid, "Rss") for pid in descendants(node.pid) if OPINION in _command(pid))


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


async def _fill(data: Path) -> None:
    """The people and products that the recordings speak of."""
    async with host_in(data, installed(("voice",))) as host, host.writing() as ctx:
        for number, name in enumerate(EMPLOYEES):
            ctx.put(Person(id=f"p{number}", name=name))
        for number, name in enumerate(PRODUCTS):
            ctx.put(Product(id=f"g{number}", name=name, price_cents=100 + number))


def _say(node: NodeProcess, one: Utterance, number: int) -> bool:
    """Each recording is a conversation of its own: whether the node understood it."""
    request = urllib.request.Request(
        f"{node.address}/balcao/wav?session=bench-{number}",
        data=_wav(one),
        headers={"Content-Type": "audio/wav"},
    )
    with urllib.request.urlopen(request, timeout=ASK_TIMEOUT_S) as answer:
        return bool(json.loads(answer.read())["understood"])


def _wav(one: Utterance) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(one.pcm.tobytes())
    return file.getvalue()
