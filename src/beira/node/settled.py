"""What a node knows of itself: who it is and where, kept in one file beside its database."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from beira.identity.shapes import Enrolled
from beira.kernel.errors import Corrupt, Misconfigured

FILE = "node.json"


class Settled(msgspec.Struct, kw_only=True):
    """Where the node's cloud is, and what that gave it at enrolment."""

    cloud: str
    enrolled: Enrolled


def load(data: Path) -> Settled:
    """Raises Misconfigured if the node is not enrolled, Corrupt if the file is damaged."""
    path = data / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Settled)
    except FileNotFoundError:
        raise Misconfigured(
            f"{data} holds no enrolled node.",
            code="node.not_enrolled",
            hint="Make a code in the portal (Nós → Novo nó), then: beira node enrol URL CODE.",
        ) from None
    except PermissionError:
        raise Misconfigured(
            f"{path} cannot be read.", hint="Run as the user who owns it."
        ) from None
    except msgspec.MsgspecError as error:
        raise Corrupt(
            f"{path} is damaged: {error}.",
            code="node.file",
            hint="Restore it from a backup, or enrol again: the data beside it is kept.",
        ) from None


def save(data: Path, settled: Settled) -> None:
    """Write the file whole or not at all."""
    path = data / FILE
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(settled), indent=2))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
