"""Small messages made as small as they get: `beira.brief.1`, a WebSocket's form of them.

What both ends know since the welcome is not said again (who the node is, its partitions, about what
time it is), ids that are UUIDs travel as their sixteen bytes, and a dictionary that comes with Beira
(tools/dictionaries.py) has what such messages usually say; one made of the site's own messages does so
better, where both ends have it. Large batches travel as they do in `beira.packed`: they are their own
dictionary. docs/specs/sync.md has the form in full.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
import zstandard

from beira.kernel import limits
from beira.kernel.batch import Group, hlcs_of
from beira.kernel.clock import COUNTER_BITS, Stamp, hlc_at, ms_of
from beira.kernel.collection import timestamp
from beira.kernel.dictionary import SHIPPED, agreed, fingerprint
from beira.kernel.errors import BeiraError, Corrupt, TooLarge
from beira.kernel.record import Value
from beira.kernel.wire import Bye, Feed, Hello, Offered, Push, Welcome, Wire
from beira.sync.codec import PACKED, decoded
from beira.sync.dictionaries import metrics

NUMBER = SHIPPED
NAME = f"beira.brief.{NUMBER}"
MOST_BYTES = limits.BRIEF_BYTES
"""Messages beyond this have enough in them to be compressed by themselves."""
LEVEL = 19
WRONG_DICTIONARY = "sync.dictionary"
"""An end says so whom the other's dictionary told nonsense; both then use the one that comes with
Beira from the next session on."""
_MAGIC = (0xFD2FB528).to_bytes(4, "little")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID_BYTES, _NEAR_UUID_BYTES, _MOMENT_BYTES = 16, (11, 12), 8
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


_INITIALS = {
    "lane": "l", "partition": "p", "after": "a", "count": "n", "groups": "g", "more": "m",
}  # fmt: skip


class BriefGroup(msgspec.Struct, array_like=True):
    """A group. `nodes` is empty for the node of the session, a partition is its place among those of
    the welcome or its name, and the first of `hlcs` counts from the welcome's clock (`_since`). Among
    ids and values, 16 bytes are a UUID, 11 and 12 are one that begins with about the time of its row's
    stamp (as most of ours do), and fewer are a time, as microseconds from that stamp."""

    collection: str
    fields: list[str]
    ids: list[Any]
    hlcs: list[int]
    lanes: list[int]
    nodes: list[str]
    partitions: list[int | str]
    columns: list[list[Any]]
    stamps: list[tuple[int, str, Stamp]] = []


class BriefPush(msgspec.Struct, tag_field="type", tag="p", rename=_INITIALS):
    """A push of `count` numbers after `after`."""

    lane: int
    after: int
    count: int
    groups: list[BriefGroup]


class BriefFeed(msgspec.Struct, tag_field="type", tag="f", rename=_INITIALS):
    """A feed of `count` numbers after `after`."""

    partition: int | str
    after: int
    count: int
    groups: list[BriefGroup]
    more: bool


Brief: TypeAlias = BriefPush | BriefFeed | Wire
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Brief])


@dataclass(frozen=True)
class Known:
    """What both ends know since the welcome."""

    node: str
    partitions: tuple[str, ...]
    hlc: int

    @classmethod
    def of(cls, welcome: Welcome) -> Known:
        partitions = tuple(welcome.partitions)
        own = (name.partition(":")[2] for name in partitions if name.startswith("node:"))
        return cls(next(own, ""), partitions, hlc_at(welcome.clock_ms))

    @property
    def tail(self) -> bytes:
        """What a node's messages have to refer to besides the dictionary."""
        return "\0".join(self.partitions).encode()

    def plain(self, messages: Sequence[Wire]) -> bytes:
        """The messages, briefly, before they are compressed."""
        return _encoder.encode([self._brief(message) for message in messages])

    def read(self, plain: bytes) -> list[Wire]:
        """The messages again. Raises Corrupt, Invalid."""
        return [self._whole(message) for message in decoded(_decoder, plain)]

    def _brief(self, message: Wire) -> Brief:
        if isinstance(message, Push):
            count = message.upto - message.after
            return BriefPush(message.lane, message.after, count, self._groups(message.groups))
        if isinstance(message, Feed):
            where, count = self._place(message.partition), message.upto - message.after
            groups = self._groups(message.groups)
            return BriefFeed(where, message.after, count, groups, message.more)
        return message

    def _whole(self, message: Brief) -> Wire:
        if isinstance(message, BriefPush):
            upto = message.after + message.count
            groups = [self._group(group) for group in message.groups]
            return Push(lane=message.lane, after=message.after, upto=upto, groups=groups)
        if isinstance(message, BriefFeed):
            return Feed(
                partition=self._partition(message.partition),
                after=message.after,
                upto=message.after + message.count,
                groups=[self._group(group) for group in message.groups],
                more=message.more,
            )
        return message

    def _groups(self, groups: Sequence[Group]) -> list[BriefGroup]:
        return [self._brief_group(group) for group in groups]

    def _brief_group(self, group: Group) -> BriefGroup:
        stamps_ms = [ms_of(hlc) for hlc in hlcs_of(group)]
        return BriefGroup(
            collection=group.collection,
            fields=group.fields,
            ids=list(map(_short, group.ids, stamps_ms)),
            hlcs=[_since(group.hlcs[0] - self.hlc), *group.hlcs[1:]] if group.hlcs else [],
            lanes=group.lanes,
            nodes=[] if group.nodes == [self.node] else group.nodes,
            partitions=[self._place(name) for name in group.partitions],
            columns=[list(map(_short, column, stamps_ms)) for column in group.columns],
            stamps=group.stamps,
        )

    def _group(self, brief: BriefGroup) -> Group:
        group = Group(
            collection=brief.collection,
            fields=brief.fields,
            ids=[],
            hlcs=[_passed(brief.hlcs[0]) + self.hlc, *brief.hlcs[1:]] if brief.hlcs else [],
            lanes=brief.lanes,
            nodes=brief.nodes or [self.node],
            partitions=[self._partition(where) for where in brief.partitions],
            columns=[],
            stamps=brief.stamps,
        )
        stamps_ms = [ms_of(hlc) for hlc in hlcs_of(group)]
        if any(len(column) != len(stamps_ms) for column in (brief.ids, *brief.columns)):
            raise _corrupt("columns of different lengths")
        group.ids = list(map(_id, brief.ids, stamps_ms))
        group.columns = [list(map(_long, column, stamps_ms)) for column in brief.columns]
        return group

    def _place(self, partition: str) -> int | str:
        return self.partitions.index(partition) if partition in self.partitions else partition

    def _partition(self, where: int | str) -> str:
        if isinstance(where, str):
            return where
        if not 0 <= where < len(self.partitions):
            raise _corrupt(f"there is no partition {where}")
        return self.partitions[where]


@dataclass(frozen=True)
class Dictionary:
    """One dictionary. `number` is the id zstd's frames carry. A site's own has no need to repeat what
    all have: that which comes with Beira is appended to it in use."""

    number: int
    data: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def whole(self) -> bytes:
        return self.data if self.number == SHIPPED else self.data + dictionary()

    @property
    def offered(self) -> Offered:
        return Offered(number=self.number, sha256=self.sha256, size_bytes=len(self.data))

    def with_tail(self, tail: bytes) -> zstandard.ZstdCompressionDict:
        return zstandard.ZstdCompressionDict(self.whole + tail)


class Shelf:
    """The dictionaries an end has besides the one that comes with Beira: none, as it is here.

    `held` has them by number, `offer` is the newest the cloud has for the node's site.
    """

    held: Mapping[int, Dictionary] = {}
    offer: Offered | None = None

    def names(self) -> dict[int, str]:
        """Numbers and fingerprints of those it has."""
        return {number: fingerprint(one.sha256) for number, one in self.held.items()}

    def told(self, offer: Offered | None) -> None:
        """The cloud's newest; a node fetches it when it suits."""

    def distrust(self) -> None:
        """Those it has told nonsense: offer none of them again."""

    def heard(self, known: Known, messages: Sequence[Wire]) -> None:
        """Small messages passed, either way."""


NO_SHELF = Shelf()


class BriefCodec:
    """One connection's. The cloud's `is_node` is False: a node's frames refer to the dictionary and to
    what the welcome said, the cloud's to the dictionary only, so that it holds nothing a connection.

    Which dictionary a session uses is settled by its hello and its welcome, which are packed.
    """

    name = NAME
    media_type = ""
    binary = True

    def __init__(self, *, is_node: bool, shelf: Shelf = NO_SHELF) -> None:
        self._is_node = is_node
        self._packed = PACKED
        self._shelf = shelf
        self._theirs: Mapping[int, str] = {}
        self._dictionary = shipped()
        self._known: Known | None = None
        self._compressor: zstandard.ZstdCompressor | None = None

    @property
    def dictionary(self) -> int:
        """The number of the dictionary in use."""
        return self._dictionary.number

    def encode(self, messages: Sequence[Wire]) -> bytes:
        known = self._known
        if known is None:
            messages = [self._dressed(message) for message in messages]
        self._notice(messages)
        if known is None or sum(map(_weight, messages)) > MOST_BYTES:
            return self._packed.encode(messages)
        plain = known.plain(messages)
        if len(plain) > MOST_BYTES:
            return self._packed.encode(messages)
        data = self._compressing(known).compress(plain)[len(_MAGIC) :]
        self._count(known, messages, len(plain), len(data))
        return data

    def decode(self, data: bytes) -> list[Wire]:
        known = self._known
        if known is None or data.startswith(_MAGIC):
            messages = self._packed.decode(data)
        else:
            plain = self._decompressed(known, data)
            messages = known.read(plain)
            self._count(known, messages, len(plain), len(data))
        self._notice(messages)
        return messages

    def _compressing(self, known: Known) -> zstandard.ZstdCompressor:
        if not self._is_node:
            return _shared(self._dictionary)
        if self._compressor is None:
            self._compressor = _compressor(self._dictionary, known.tail)
        return self._compressor

    def _decompressed(self, known: Known, data: bytes) -> bytes:
        tail = b"" if self._is_node else known.tail
        try:
            return _decompressed(_MAGIC + data, tail, self._dictionary)
        except Corrupt as error:
            if self._dictionary.number == SHIPPED:
                raise
            self._shelf.distrust()
            raise _wrong(error.message) from None

    def _dressed(self, message: Wire) -> Wire:
        """A hello names what the node has, a welcome what the cloud offers and what will be used."""
        if self._is_node and isinstance(message, Hello):
            return msgspec.structs.replace(message, dicts=self._shelf.names())
        if not self._is_node and isinstance(message, Welcome):
            speaks = agreed(self._shelf.names(), self._theirs)
            return msgspec.structs.replace(message, speaks=speaks, dictionary=self._shelf.offer)
        return message

    def _notice(self, messages: Sequence[Wire]) -> None:
        for message in messages:
            if isinstance(message, Welcome) and self._known is None:
                self._settle(message)
            elif isinstance(message, Hello) and not self._is_node:
                self._theirs = message.dicts
            elif isinstance(message, Bye) and message.code == WRONG_DICTIONARY:
                self._shelf.distrust()

    def _settle(self, welcome: Welcome) -> None:
        self._theirs = {}
        if welcome.speaks:
            chosen = self._shelf.held.get(welcome.speaks)
            if chosen is None:
                raise _wrong(f"The cloud uses dictionary {welcome.speaks}, which is not here.")
            self._dictionary = chosen
        self._known = Known.of(welcome)
        self._shelf.told(welcome.dictionary)

    def _count(self, known: Known, messages: Sequence[Wire], plain: int, sent: int) -> None:
        kind = metrics.SHIPPED if self._dictionary.number == SHIPPED else metrics.SITE
        kind.plain.inc(plain)
        kind.sent.inc(sent)
        self._shelf.heard(known, messages)


@cache
def dictionary() -> bytes:
    """The dictionary that comes with this release."""
    return files("beira.sync.dictionaries").joinpath(f"{NUMBER}.zdict").read_bytes()


@cache
def shipped() -> Dictionary:
    return Dictionary(NUMBER, dictionary())


def _compressor(known: Dictionary, tail: bytes) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=LEVEL, dict_data=known.with_tail(tail))


@lru_cache(maxsize=limits.COMPRESSORS_KEPT)
def _shared(known: Dictionary) -> zstandard.ZstdCompressor:
    return _compressor(known, b"")


def _decompressed(data: bytes, tail: bytes, known: Dictionary | None = None) -> bytes:
    known = known or shipped()
    try:
        size_bytes = zstandard.frame_content_size(data)
        if not 0 <= size_bytes <= MOST_BYTES:
            raise TooLarge(f"A brief message is {size_bytes} bytes; {MOST_BYTES} at most.")
        number = zstandard.get_frame_parameters(data).dict_id
        if number not in (known.number, 0):
            raise Corrupt(f"A message refers to dictionary {number}, not to {known.number}.")
        return zstandard.ZstdDecompressor(dict_data=known.with_tail(tail)).decompress(
            data, max_output_size=MOST_BYTES
        )
    except zstandard.ZstdError as error:
        raise Corrupt(f"A message could not be decompressed: {error}.") from None


def _wrong(why: str) -> BeiraError:
    return Corrupt(
        why,
        code="sync.dictionary",
        hint="Nothing is lost: the next session does without the dictionary made for this site.",
    )


def _since(difference: int) -> int:
    """A difference of stamp numbers: most are whole milliseconds, which take four bytes less. Twice
    those; or for others twice the difference and one."""
    whole_ms, rest = divmod(difference, 1 << COUNTER_BITS)
    return 2 * difference + 1 if rest else 2 * whole_ms


def _passed(since: int) -> int:
    half = since >> 1
    return half if since & 1 else half << COUNTER_BITS


def _weight(message: Wire) -> int:
    """At least what a message comes to: rows alone tell that it is a large one."""
    if isinstance(message, Push | Feed):
        return sum(16 * len(group.ids) * len(group.fields) for group in message.groups)
    return 0


def _short(value: Value, stamp_ms: int) -> Value:
    """A UUID or a time as bytes, if it comes back from them exactly."""
    if type(value) is not str:
        return value
    if len(value) == 36 and _UUID.match(value):
        return _uuid_bytes(bytes.fromhex(value.replace("-", "")), stamp_ms)
    if 20 <= len(value) <= 27 and value[10] == "T" and value[-1] == "Z":
        return _moment_bytes(value, stamp_ms)
    return value


def _uuid_bytes(whole: bytes, stamp_ms: int) -> bytes:
    """One of about its row's time says that as the difference."""
    since_ms = int.from_bytes(whole[:6], "big") - stamp_ms
    return _signed(since_ms) + whole[6:] if -(2**15) <= since_ms < 2**15 else whole


def _uuid(value: bytes, stamp_ms: int) -> str:
    if len(value) == _UUID_BYTES:
        return str(UUID(bytes=value))
    ms = int.from_bytes(value[:-10], "big", signed=True) + stamp_ms
    return str(UUID(bytes=ms.to_bytes(6, "big") + value[-10:]))


def _signed(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)


def _moment_bytes(text: str, stamp_ms: int) -> Value:
    try:
        since = datetime.fromisoformat(text) - _moment(stamp_ms * 1_000)
    except (ValueError, OverflowError):
        return text
    micros = since // timedelta(microseconds=1)
    if not -(2**55) < micros < 2**55 or _moment_text(stamp_ms, micros) != text:
        return text
    return _signed(micros)


def _long(value: Value, stamp_ms: int) -> Value:
    if type(value) is not bytes:
        return value
    try:
        if len(value) in (_UUID_BYTES, *_NEAR_UUID_BYTES):
            return _uuid(value, stamp_ms)
        if not 0 < len(value) <= _MOMENT_BYTES:
            raise _corrupt("bytes that are neither a UUID nor a time")
        return _moment_text(stamp_ms, int.from_bytes(value, "big", signed=True))
    except OverflowError:
        raise _corrupt("a time beyond the calendar") from None


def _moment_text(stamp_ms: int, micros: int) -> str:
    return timestamp(_moment(stamp_ms * 1_000 + micros))


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _id(value: Value, stamp_ms: int) -> str:
    made = _long(value, stamp_ms)
    if type(made) is not str:
        raise _corrupt("an id is no text")
    return made


def _corrupt(why: str) -> BeiraError:
    return Corrupt(f"A brief message does not fit this session: {why}.", code="sync.message")


assert MOST_BYTES <= limits.MESSAGE_BYTES
