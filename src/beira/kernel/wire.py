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
CAN = ["check"]
"""What was added since: who does not name it in its hello or welcome is asked nothing of the kind."""


class Message(msgspec.Struct, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all messages."""


class Hello(Message, tag="hello"):
    """A node presents itself. `ticket` proves it is the only one of its name, `cursors` say how far
    it got in each partition's feed, `cloud` which database it last spoke with, `can` what it
    understands beyond the first release. `sure`: the cloud has called this very ticket an old one
    (`node.ticket_old`), and the node has no other. `logs` are the runs of its program since its log
    was last acknowledged, the present one last, and `acked` how far each lane was (`kernel.runs`).
    `floors` say, of feeds not yet read up to there, what the cloud had told when they began.
    `dicts` are the dictionaries it has of its site's, as numbers with fingerprints
    (`kernel.dictionary`)."""

    protocol: int
    release: str
    ticket: int
    clock_ms: int
    cursors: dict[str, int] = {}
    cloud: str = ""
    can: list[str] = []
    sure: bool = False
    logs: list[int] = []
    acked: dict[int, int] = {}
    floors: dict[str, int] = {}
    dicts: dict[int, str] = {}


class Offered(msgspec.Struct, kw_only=True):
    """A dictionary made for the node's site; it may be fetched."""

    number: int
    sha256: str
    size_bytes: int


class Welcome(Message, tag="welcome"):
    """The cloud's answer: the next ticket, how far it has each lane, and the partitions granted.

    `restart` names partitions whose feed begins at 0 again, whatever the node's cursor says: the
    database is another one, or deletions the node has not heard of were forgotten meanwhile. Its
    values are stamp numbers: what was written up to them and is not in the cloud was deleted there.
    `floors` says of each feed that begins at 0 up to where deletions were forgotten: only who was that
    far, or began since, has heard of all.
    `pushed` is the greatest stamp number the node ever pushed: it may have forgotten that value, and
    have written over it. `can` names what the cloud understands beyond the first release. `speaks` is
    the dictionary of this session's brief messages (0: the one that comes with Beira), `dictionary` the
    newest there is.
    """

    protocol: int
    release: str
    ticket: int
    clock_ms: int
    cloud: str
    acked: dict[int, int] = {}
    partitions: list[str] = []
    restart: dict[str, int] = {}
    floors: dict[str, int] = {}
    pushed: int = 0
    can: list[str] = []
    speaks: int = 0
    dictionary: Offered | None = None


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


class Check(Message, tag="check"):
    """Sums of what the node holds of a partition, for each collection: (rows, sum of digests) once,
    or for each bucket. Rows written before `since[collection]` (a stamp number) are left out, and so
    are, of collections that only go up, those of other nodes. See `kernel.digest`."""

    partition: str
    since: dict[str, int]
    sums: dict[str, list[tuple[int, int]]]


class Checked(Message, tag="checked"):
    """Which of the sums differ from the cloud's, by their place in the list."""

    partition: str
    differ: dict[str, list[int]] = {}


class Fetch(Message, tag="fetch"):
    """Send the rows of these buckets beyond `after` (stamp number, id), in that order."""

    partition: str
    collection: str
    buckets: list[int]
    after: tuple[int, str]


class Found(Message, tag="found"):
    """The rows asked for, deleted ones too, up to and including `upto`."""

    partition: str
    collection: str
    upto: tuple[int, str]
    groups: list[Group] = []
    more: bool = False


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
    Hello
    | Welcome
    | Confirm
    | Push
    | Ack
    | Gap
    | Ahead
    | Feed
    | Got
    | Check
    | Checked
    | Fetch
    | Found
    | Status
    | Ping
    | Pong
    | Bye
)
