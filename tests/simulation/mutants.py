"""`make mutants`: faults put into a copy of the product, one at a time. A checker of the simulation that
sees none of them proves nothing.

One JSON object a line and fault: in how many of the worlds it was seen, and what was said first.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "beira"
AT_ONCE = 2
WORLD_S = 60


@dataclass(frozen=True)
class Mutant:
    """In `file`, `good` is replaced by `bad`: it occurs there once."""

    name: str
    file: str
    good: str
    bad: str


MUTANTS = (
    Mutant(
        "a node trims what it has sent, before it is confirmed",
        "kernel/node_session.py",
        "        return [Send(push), *self._next()]",
        "        return [Send(push), Trim(lane, upto), *self._next()]",
    ),
    Mutant(
        "a node confirms a feed before it is on its disk",
        "sync/node/conversation.py",
        "            await self._merge(feed.partition, Block(feed.groups), feed.upto)",
        "            asyncio.ensure_future("
        "self._merge(feed.partition, Block(feed.groups), feed.upto))",
    ),
    Mutant(
        "the cloud confirms a push before it is committed",
        "sync/cloud/conversation.py",
        "                await self._write(moved, rows, refused)\n        except",
        "                asyncio.ensure_future(self._write(moved, rows, refused))\n        except",
    ),
    Mutant(
        "the cloud keeps no losing values",
        "sync/cloud/conversation.py",
        "        lost = self.session.conflicts(contests)",
        "        return []",
    ),
    Mutant(
        "a node keeps no losing values",
        "sync/node/losing.py",
        "        return [loss(contest, stamp) for contest in mine if _leaves(host, contest)]",
        "        return []",
    ),
    Mutant(
        "everybody gets an echo of their own writes",
        "kernel/gate_session.py",
        "pack(rows if state.fresh else without_echoes(rows, self.node.id))",
        "pack(rows)",
    ),
    Mutant(
        "a ticket can be given twice",
        "kernel/ticket.py",
        "return (turn_of(ticket) + 1) * CHANCES + chance",
        "return (turn_of(ticket) + 1) * CHANCES",
    ),
    Mutant(
        "stamps of the far future are taken",
        "kernel/gate_session.py",
        "        if newest > tolerated(hlc_at(now_ms)):",
        "        if False:",
    ),
    Mutant(
        "writes go on while their clock is brought down",
        "host/host.py",
        "        self._clock_stands.clear()",
        "        pass",
    ),
    Mutant(
        "marks of a run that a power cut undid are believed",
        "kernel/runs.py",
        "    return min(int(upto), acked) if run in runs else 0",
        "    return int(upto)",
    ),
    Mutant(
        "a cursor stays where another database's feed begins anew",
        "kernel/node_session.py",
        "        self.cursors.update(dict.fromkeys(message.restart, 0))",
        "        pass",
    ),
)


def mutated(mutant: Mutant) -> str:
    """The file's text with the fault. Raises ValueError if the product has changed since."""
    text = (SOURCE / mutant.file).read_text()
    if text.count(mutant.good) != 1:
        raise ValueError(f"{mutant.name!r}: {mutant.file} no longer has it once: {mutant.good!r}")
    return text.replace(mutant.good, mutant.bad)


def seen(mutant: Mutant, worlds: int) -> dict[str, object]:
    """In how many worlds, from seed 1 on, the fault was seen."""
    with tempfile.TemporaryDirectory(prefix="beira-mutant-") as name:
        made = Path(name)
        for part in ("src", "tests"):
            ignored = shutil.ignore_patterns("__pycache__", "vendor")
            shutil.copytree(ROOT / part, made / part, ignore=ignored)
        (made / "src" / "beira" / mutant.file).write_text(mutated(mutant))
        found, said = 0, ""
        for seed in range(1, worlds + 1):
            why = _lived(made, seed)
            found += bool(why)
            said = said or why
    return {"fault": mutant.name, "worlds": worlds, "seen_in": found, "said": said[:200]}


def _lived(made: Path, seed: int) -> str:
    """What a world said that went wrong ("": nothing did)."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{made / 'src'}:{made}",
        "PYTHONHASHSEED": "0",
        "BEIRA_SEED": str(seed),
    }
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.simulation.simulate"],
            cwd=made, env=environment, capture_output=True, text=True, timeout=WORLD_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"It does not come to rest within {WORLD_S} s."
    if ended.returncode == 0:
        return ""
    lines = [line for line in ended.stderr.splitlines() if re.match(r"\S*(Error|TooLong)\b", line)]
    return lines[-1] if lines else ended.stderr[-200:]


def main() -> int:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--worlds", type=int, default=30, help="for each fault")
    asked.add_argument("--only", default="", help="faults whose name contains this")
    options = asked.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    missed = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for told in pool.map(lambda mutant: seen(mutant, options.worlds), chosen):
            print(json.dumps(told), flush=True)
            missed += not told["seen_in"]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
