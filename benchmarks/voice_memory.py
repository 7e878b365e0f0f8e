"""What a node with voice takes: a real node that hears real recordings at its own door."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
import urllib.request
import wave
from collections.abc import Sequence
from pathlib import Path

from beira.apps.voice.records import Person, Product
from beira.host.apps import installed
from benchmarks.node_process import Memory, NodeProcess, host_in, running_node, settle, wait_for
from benchmarks.voice_data import EMPLOYEES, PRODUCTS, Utterance

HEARD = 12
ASK_TIMEOUT_S = 60


def node_memory(heard: Sequence[Utterance]) -> tuple[Memory, Memory, float]:
    """Of a node once its voice is ready, and after it has heard these; and which share of them it
    understood, so that one sees that it did."""
    with tempfile.TemporaryDirectory(prefix="beira-bench-") as folder:
        data = Path(folder) / "node"
        settle(data)
        asyncio.run(_fill(data))
        with running_node(data, apps=("voice",)) as node:
            wait_for(node, "voice.ready")
            rest = node.memory()
            understood = sum(_say(node, one, number) for number, one in enumerate(heard))
            return rest, node.memory(), understood / max(1, len(heard))


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
