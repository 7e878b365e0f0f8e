"""How little goes over the wire: bytes in WebSocket messages, beside the JSON of the same records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from beira.apps.voice.records import Interaction as Talk
from beira.kernel.record import Record
from beira.kernel.system import Alert
from benchmarks.figures import figure
from benchmarks.sync.cloud import Cloud
from benchmarks.sync.node import node
from benchmarks.sync.thin import counted
from benchmarks.sync.workload import BATCH, NAMES, RECORDS, UPDATED, Good, good_id, json_bytes

UPDATES_BYTES = 26_000
ALERTS = 20
ALARMS = (
    ("emergency.fire", "Emergência: incêndio", "aurora fogo no depósito"),
    ("security.theft", "Segurança: furto", "aurora furto no corredor 5"),
    ("failure", "Falha: câmara fria", "aurora a câmara fria parou"),
)


async def interactions(at: Cloud, folder: Path) -> None:
    """Aurora's own, in batches of 500, as they go up."""
    made = [_interaction(i) for i in range(4 * BATCH)]
    async with node(folder, at.address, "talk") as one, one.running():
        await one.connected()
        before = one.agent.state.bytes_sent
        for i in range(0, len(made), BATCH):
            await one.write(made[i : i + BATCH])
            await one.empty()
        size = one.agent.state.bytes_sent - before
    share = size / json_bytes(made) * 100
    figure(
        "bytes up, Aurora's interactions by 500", share, "% of JSON",
        target="<= 10", met=share <= 10,
    )  # fmt: skip


async def critical(at: Cloud, folder: Path) -> None:
    """Alerts one at a time, on a connection that is up: their pushes, and all that goes up meanwhile,
    such as what confirms that the cloud's feed has come (an alert flows both ways)."""
    made: list[Record] = []
    async with node(folder, at.address, "alarm") as one, one.running():
        await one.connected()
        before, all_before = one.connector.push_bytes, one.agent.state.bytes_sent
        for i in range(ALERTS):
            made.append(_alert(i))
            await one.write(made[-1:])
            await one.empty()
        size = one.connector.push_bytes - before
        whole = one.agent.state.bytes_sent - all_before
    share = size / json_bytes(made) * 100
    figure(
        "bytes up, a single critical record", share, "% of JSON",
        target="<= 25", met=share <= 25,
    )  # fmt: skip
    figure("bytes up, a single critical record with all around it", whole / ALERTS, "bytes")


async def updates(at: Cloud, folder: Path) -> None:
    """A tenth of the catalogue gets another price, a field each."""
    async with node(folder, at.address, "reprice") as one:
        await one.pulled(await at.ask("goods", count=RECORDS))
        async with one.host.writing() as ctx:
            for i in range(UPDATED):
                ctx.patch(Good, good_id(i * 10), price_cents=100 + i * 17 % 9_000)
        before = one.agent.state.bytes_sent
        await one.drained()
        size = one.agent.state.bytes_sent - before
    met = size <= UPDATES_BYTES
    figure(
        "bytes up, 1,000 one-field updates", size, "bytes",
        target=f"<= {UPDATES_BYTES}", met=met,
    )  # fmt: skip


async def after_updates(at: Cloud, folder: Path, times: int) -> None:
    """What a fresh node pulls before and after every row was updated `times` times."""
    sizes = []
    for name, by in (("pull-before", 0), ("pull-after", times)):
        end = await at.ask("goods", count=RECORDS)
        for i in range(by):
            end = await at.ask("reprice", count=RECORDS, by=i + 1)
        async with counted(at.address) as link, node(folder, link.address, name) as one:
            await one.pulled(end)
            sizes.append(link.down_bytes)
    ratio = sizes[1] / sizes[0]
    figure(
        f"fresh pull after every row was updated {times} times", sizes[1], "bytes",
        peer=f"before: {sizes[0]}", ratio=ratio, target="<= 1.05 x", met=ratio <= 1.05,
    )  # fmt: skip


def _interaction(i: int) -> Record:
    who, hour, minute = NAMES[i % len(NAMES)], 8 + i % 10, i * 7 % 60
    return Talk(
        text=f"aurora registrar ponto do {who} às {hour} e {minute}",
        at=datetime(2026, 11, 20, 8, tzinfo=UTC) + timedelta(milliseconds=37_013 * i),
        intent="register_punch",
        outcome="done",
        answer=f"Ponto de {who} registrado às {hour}:{minute:02}.",
        confidence=round(0.9 + (i % 97) / 1000, 3),
        door="voice",
        command="register_punch",
        language="pt-BR",
        stages_ms={"recognise": 20.0 + i % 9, "command": 3.0 + i % 5 / 10},
        latency_ms=400.0 + i * 7919 % 500,
    )


def _alert(i: int) -> Record:
    kind, title, text = ALARMS[i % len(ALARMS)]
    at = datetime.now(UTC)
    return Alert(kind=kind, level="critical", title=title, at=at, text=text, node="alarm")
