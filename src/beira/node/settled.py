"""What a node knows of itself: who it is and where, kept in one file beside its database."""

from __future__ import annotations

from pathlib import Path

import msgspec

from beira.identity.private_files import PrivateFiles
from beira.identity.shapes import Enrolled
from beira.kernel.errors import Corrupt, Misconfigured

FILE = "node.json"


class Settled(msgspec.Struct, kw_only=True):
    """Where the node's cloud is, and what that gave it at enrolment."""

    cloud: str
    enrolled: Enrolled


def load(data: Path, files: PrivateFiles | None = None) -> Settled:
    """Raises Misconfigured if the node is not enrolled, Corrupt if the file is damaged."""
    path = data / FILE
    try:
        return msgspec.json.decode((files or PrivateFiles()).read(path), type=Settled)
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


def save(data: Path, settled: Settled, files: PrivateFiles | None = None) -> None:
    """Write the file whole or not at all."""
    content = msgspec.json.format(msgspec.json.encode(settled), indent=2)
    (files or PrivateFiles()).write(data / FILE, content, durable=True)
