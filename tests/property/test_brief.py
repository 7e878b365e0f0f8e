"""The brief form of messages says exactly what they say, whoever reads it and whatever they hold."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.kernel.batch import pack
from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.errors import BeiraError
from beira.kernel.record import Row
from beira.kernel.wire import Ack, Feed, Push, Welcome, Wire
from beira.sync.brief import MOST_BYTES, BriefCodec

NOW_MS = 1_790_000_000_000
WELCOME = Welcome(
    protocol=1,
    release="test",
    ticket=1,
    clock_ms=NOW_MS,
    cloud="c",
    partitions=["node:n1", "site:s1", "tenant"],
)
moments = st.datetimes().map(lambda at: at.isoformat() + "Z")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    texts,
    st.uuids().map(str),
    st.uuids().map(lambda id: str(id).upper()),
    moments,
    st.lists(st.uuids().map(str), max_size=2),
)
stamps = st.builds(
    Stamp,
    st.integers(-(10**9), 10**9).map(lambda ms: hlc_at(NOW_MS + ms)),
    st.integers(0, 2),
    st.sampled_from(["n1", "n2"]),
)
rows = st.builds(
    lambda id, partition, fields, stamp, own: Row(
        collection="talk",
        id=id,
        partition=partition,
        fields=dict(sorted(fields.items())),
        stamp=stamp,
        stamps={next(iter(sorted(fields))): own} if own and own < stamp else {},
    ),
    st.one_of(texts.filter(bool), st.uuids().map(str)),
    st.sampled_from(["site:s1", "tenant", "group:other"]),
    st.dictionaries(st.sampled_from(["at", "text", "kind"]), values, min_size=1),
    stamps,
    st.none() | stamps,
)


def ends() -> tuple[BriefCodec, BriefCodec]:
    """A node's end and the cloud's, once the welcome was said."""
    node, cloud = BriefCodec(is_node=True), BriefCodec(is_node=False)
    assert node.decode(cloud.encode([WELCOME])) == [WELCOME]
    return node, cloud


@given(st.lists(rows, max_size=6), st.integers(0, 2**40), st.integers(0, 2**20))
def test_pushes_and_feeds_arrive_as_they_were(found: list[Row], after: int, count: int) -> None:
    node, cloud = ends()
    push: Wire = Push(lane=1, after=after, upto=after + count, groups=pack(found))
    feed: Wire = Feed(partition="site:s1", after=after, upto=after + count, groups=pack(found))
    assert cloud.decode(node.encode([push, Ack(lane=1, upto=3)])) == [push, Ack(lane=1, upto=3)]
    assert node.decode(cloud.encode([feed, push])) == [feed, push]


@given(st.binary(max_size=200), st.booleans())
def test_what_is_no_message_is_refused_as_that(data: bytes, whole: bool) -> None:
    node, cloud = ends()
    given_ = bytearray(node.encode([Ack(lane=1, upto=3)]))
    given_[-len(data) % (len(given_) + 1) :] = data
    with suppress(BeiraError):
        cloud.decode(bytes(given_) if whole else data)


@pytest.mark.parametrize("value", [b"", b"\x01" * 9, b"\x7f" * 8, b"\x01" * 17])
def test_bytes_that_are_neither_a_uuid_nor_a_time_are_refused(value: bytes) -> None:
    node, cloud = ends()
    row = Row(
        collection="talk", id="a", partition="tenant", fields={"at": value},
        stamp=Stamp(hlc_at(NOW_MS), 1, "n1"),
    )  # fmt: skip
    message: Any = Push(lane=1, after=0, upto=1, groups=pack([row]))
    with pytest.raises(BeiraError):
        cloud.decode(node.encode([message]))


def test_large_messages_travel_packed_and_unpacked_bombs_do_not_go_off() -> None:
    node, cloud = ends()
    row = Row(
        collection="talk", id="a", partition="tenant", fields={"text": "x" * 2 * MOST_BYTES},
        stamp=Stamp(hlc_at(NOW_MS), 1, "n1"),
    )  # fmt: skip
    push = Push(lane=1, after=0, upto=1, groups=pack([row]))
    data = node.encode([push])
    assert data.startswith(b"\x28\xb5\x2f\xfd")
    assert cloud.decode(data) == [push]


def test_a_critical_record_alone_is_a_quarter_of_its_json() -> None:
    node, _ = ends()
    fields = {
        "_deleted": False, "at": "2026-09-21T14:14:20.123456Z", "ended_at": None,
        "kind": "security.theft",
        "level": "critical", "node": "n1", "seen_at": None, "seen_by": "",
        "text": "aurora, furto", "title": "Segurança: furto",
    }  # fmt: skip
    ms = NOW_MS + 60_000
    row = Row(
        collection="alerts", id=f"{ms:012x}"[:8] + f"-{ms & 0xFFFF:04x}-7abc-8def-0123456789ab",
        partition="site:s1", fields=fields, stamp=Stamp(hlc_at(ms) + 3, 2, "n1"),
    )  # fmt: skip
    data = node.encode([Push(lane=2, after=41, upto=42, groups=pack([row]))])
    assert 4 * len(data) <= len(msgspec.json.encode({"id": row.id, **fields}))
