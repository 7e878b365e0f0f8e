"""Dictionaries made for one site's small messages: what one may be trained on, whether a new one is
worth its way to the nodes, and which of them a session uses.

A dictionary holds fragments of what it was trained on, and goes to every node of its site. So it is
made of that site's messages alone, and of those only what may lie in a neighbour's machine: no
personal field, nothing of a partition that is one node's own, no text whose nature is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from beira.kernel import limits
from beira.kernel.access import TENANT_PARTITION, site_partition
from beira.kernel.batch import Group
from beira.kernel.collection import Registry
from beira.kernel.field import Travel
from beira.kernel.record import DELETED, Value
from beira.kernel.wire import Ack, Confirm, Feed, Got, Ping, Pong, Push, Status, Wire

SHIPPED = 1
"""The number of the dictionary that comes with Beira."""
FIRST_OWN = 16
"""A site's own are numbered from here; those before are for dictionaries that come with Beira."""
WORTH = 0.95
"""A new dictionary must make of messages it was not trained on at most this part of what the one in
use makes of them: less would not pay for carrying it to every node."""
HELD_OUT = 5
"""Every fifth message is kept from the training, to judge what came of it: as it was, with all that is
personal, for that is what will be sent."""
FINGERPRINT_CHARS = 16
BLANK = ""
_STATUS_TEXTS = frozenset({"release", "link"})
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def fingerprint(sha256: str) -> str:
    """What of a dictionary's SHA-256 is said in each hello."""
    return sha256[:FINGERPRINT_CHARS]


def agreed(here: Mapping[int, str], there: Mapping[int, str]) -> int:
    """The newest dictionary that both have, by number and fingerprint; 0 if there is none."""
    return max((n for n, name in here.items() if there.get(n) == name), default=0)


def is_due(now_ms: int, tried_ms: int | None, changes: int) -> bool:
    """Whether a site that sent so many batches of changes meanwhile gets another try."""
    if changes < limits.DICTIONARY_CHANGES_LEAST:
        return False
    return tried_ms is None or now_ms - tried_ms >= limits.DICTIONARY_EVERY_S * 1_000


def is_worth(in_use_bytes: int, new_bytes: int) -> bool:
    """Whether messages that took `in_use_bytes` are enough smaller with the new one."""
    return 0 < new_bytes <= WORTH * in_use_bytes


def is_held_out(number: int) -> bool:
    """Whether a site's message of that number is to judge by, not to train on."""
    return number % HELD_OUT == 0


def harmless(message: Wire, registry: Registry, site: str) -> Wire | None:
    """The message as it may be trained on; None if nothing of it may."""
    match message:
        case Push():
            groups = _groups(message.groups, registry, site)
            kept = Push(lane=message.lane, after=message.after, upto=message.upto, groups=groups)
            return kept if groups else None
        case Feed():
            groups = _groups(message.groups, registry, site)
            kept_feed = Feed(
                partition=message.partition,
                after=message.after,
                upto=message.upto,
                groups=groups,
                more=message.more,
            )
            return kept_feed if groups else None
        case Status():
            return Status(fields={name: _told(name, v) for name, v in message.fields.items()})
        case Ack():
            return None if message.refused else message
        case Got() | Confirm() | Ping() | Pong():
            return message
    return None


def _groups(groups: Sequence[Group], registry: Registry, site: str) -> list[Group]:
    allowed = {site_partition(site), TENANT_PARTITION}
    return [
        _group(group, registry)
        for group in groups
        if group.collection in registry and allowed.issuperset(group.partitions)
    ]


def _group(group: Group, registry: Registry) -> Group:
    """The group with blanks for whatever is personal, or may be."""
    declared = registry[group.collection].fields
    columns: list[list[Value]] = []
    for name, column in zip(group.fields, group.columns, strict=True):
        field = declared.get(name)
        plain = name == DELETED or (
            field is not None and not field.personal and field.travel is Travel.AS_IT_IS
        )
        columns.append(column if plain else [BLANK] * len(column))
    return Group(
        collection=group.collection,
        fields=group.fields,
        ids=[id if _UUID.match(id) else BLANK for id in group.ids],
        hlcs=group.hlcs,
        lanes=group.lanes,
        nodes=group.nodes,
        partitions=group.partitions,
        columns=columns,
        stamps=[],
    )


def _told(name: str, value: object) -> object:
    """A figure of a node's status; texts, which may quote anything, only where they are words of ours."""
    if isinstance(value, str):
        return value if name in _STATUS_TEXTS else BLANK
    if isinstance(value, dict):
        return {key: _told("", item) for key, item in value.items()}
    if isinstance(value, list):
        return [_told("", item) for item in value]
    return value
