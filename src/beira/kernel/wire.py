"""The messages of sync, as docs/specs/sync.md describes them for those who write another client.

A node opens with `Hello`, the cloud answers `Welcome`; then the node pushes batches of its log by
lane, and the cloud feeds it what changed in its partitions. Either side may stop at any moment:
what was not acknowledged is sent again.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from beira.kernel.batch import Group

PROTOCOL = 1
"""Neighbouring protocols must understand each other (law 8): messages only ever gain fields."""


class Message(msgspec.Struct, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all messages."""


class Hello(Message, tag="hello"):
    """A node presents itself. `ticket` proves it is the only one of its name, `cursors` say how far
    it got in each partition's feed, `cloud` which database it last spoke with."""

    protocol: int
    release: str
    ticket: int
    clock_ms: int
    cursors: dict[str, int] = {}
    cloud: str = ""


class Welcome(Message, tag="welcome"):
    """The cloud's answer: the next ticket, how far it has each lane, and the partitions granted."""

    protocol: int
    release: str
    ticket: int
    clock_ms: int
    cloud: str
    acked: dict[int, int] = {}
    partitions: list[str] = []


class Confirm(Message, tag="confirm"):
    """The node has the new ticket on disk."""

    ticket: int


class Push(Message, tag="push"):
    """All of a lane's log after `after` up to `upto`."""

    lane: int
    after: int
    upto: int
    groups: list[Group] = []


class Refused(msgspec.Struct, kw_only=True):
    """A record the cloud could not take; it lies in quarantine there."""

    collection: str
    id: str
    code: str
    message: str


class Ack(Message, tag="ack"):
    """Committed: the lane is in the cloud up to `upto`."""

    lane: int
    upto: int
    refused: list[Refused] = []


class Gap(Message, tag="gap"):
    """Refused, since something is missing before it: the cloud has the lane up to `has`."""

    lane: int
    has: int


class Ahead(Message, tag="ahead"):
    """Refused, since its stamps lie in the future: bring them down to `clock_ms` and push again."""

    lane: int
    clock_ms: int


class Feed(Message, tag="feed"):
    """What changed in a partition after `after` up to `upto`."""

    partition: str
    after: int
    upto: int
    groups: list[Group] = []
    more: bool = False


class Got(Message, tag="got"):
    """The node has the partition's feed on disk up to `upto`."""

    partition: str
    upto: int


class Status(Message, tag="status"):
    """How the node is: fields of `NodeStatus`."""

    fields: dict[str, Any]


class Ping(Message, tag="ping"):
    """Are you there? Answered by a Pong with the same `sent_ms`."""

    sent_ms: int


class Pong(Message, tag="pong"):
    """Yes, and this is my time."""

    sent_ms: int
    clock_ms: int


class Bye(Message, tag="bye"):
    """The cloud ends the session, and why; `retry` says whether trying again makes sense."""

    code: str
    message: str
    hint: str = ""
    retry: bool = True


Wire: TypeAlias = (
    Hello | Welcome | Confirm | Push | Ack | Gap | Ahead | Feed | Got | Status | Ping | Pong | Bye
)
