"""A shop's manifest: what is believed of it, and what a question about it costs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
import pytest

from beira.apps.player.held import check, taken
from beira.apps.player.manifest import (
    BUCKETS,
    AssetEntry,
    Entry,
    Head,
    Manifest,
    PlaylistEntry,
    Question,
    SignedHead,
    SlotEntry,
    answered,
    body_of,
    bucket_of,
    entry_of,
    key_of,
)
from beira.apps.player.syncing import questions
from beira.apps.player.wire import packed
from beira.sdk import Corrupt

HEAD = Head(tenant="t", node="n", version=7, root="r", issued_at=datetime(2026, 6, 1, tzinfo=UTC))


def library(count: int) -> Iterator[Entry]:
    for n in range(count):
        yield AssetEntry(id=f"a{n:05}", file=sha256(b"%d" % n).hexdigest(), size_bytes=1_600_000 + n,
                         title=f"Faixa {n}",
                         duration_ms=200_000 + n, artist=f"Artista {n % 300}",
                         valid_until=f"2027-01-{1 + n % 28:02}T00:00")  # fmt: skip
    ids = tuple(f"a{n:05}" for n in range(count))
    yield PlaylistEntry(id="p", name="Dia", assets=ids, order="shuffled")
    yield SlotEntry(id="s", playlist="p")


def _head(manifest: Manifest) -> Head:
    return msgspec.structs.replace(HEAD, root=manifest.root)


def signed(manifest: Manifest) -> SignedHead:
    return SignedHead(head=msgspec.json.encode(_head(manifest)), signature=b"s" * 64, key_id="k")


def test_an_entry_is_the_same_bytes_everywhere_and_comes_back() -> None:
    for entry in library(3):
        assert entry_of(body_of(entry)) == entry
        assert body_of(entry_of(body_of(entry))) == body_of(entry)


def test_the_order_of_entries_makes_no_difference() -> None:
    entries = list(library(50))
    assert Manifest.of(entries).root == Manifest.of(reversed(entries)).root


def test_another_nodes_or_tenants_head_is_refused() -> None:
    check(HEAD, HEAD, "t", "n")
    for tenant, node in (("t", "m"), ("u", "n")):
        with pytest.raises(Corrupt) as refused:
            check(HEAD, None, tenant, node)
        assert refused.value.code == "player.other_node"


def test_an_older_head_is_refused() -> None:
    newer = msgspec.structs.replace(HEAD, version=8)
    check(newer, HEAD, "t", "n")
    with pytest.raises(Corrupt) as refused:
        check(HEAD, newer, "t", "n")
    assert refused.value.code == "player.older"


def test_entries_that_do_not_come_to_the_root_are_not_taken() -> None:
    manifest = Manifest.of(library(40))
    answer = answered(manifest, signed(manifest), questions(Manifest(), 0)[-1])
    assert taken(Manifest(), _head(manifest), answer.buckets)
    index, bodies = next(iter(answer.buckets.items()))
    forged = {**answer.buckets, index: bodies[1:]}
    assert taken(Manifest(), _head(manifest), forged) is None


def test_an_entry_in_anothers_bucket_or_none_is_refused() -> None:
    body = body_of(AssetEntry(id="a", file="f", size_bytes=1, title="", duration_ms=1))
    wrong = (bucket_of("asset:a") + 1) % BUCKETS
    for index, bodies in ((wrong, [body]), (BUCKETS, []), (-1, []), (3, [b"{}"]), (3, [b"\x00"])):
        with pytest.raises(Corrupt) as refused:
            Manifest().replaced({index: bodies})
        assert refused.value.code == "player.entry"


def test_marks_alike_by_chance_are_found_out_by_the_root() -> None:
    """A node whose marks say that it has all, though it has not, asks for the whole."""
    manifest = Manifest.of(library(40))
    held = Manifest(Manifest.of(library(39)).buckets, (*manifest.hashes[:-1], b"x" * 32))
    _, marks, whole = questions(held, 1)
    lying = msgspec.structs.replace(marks, marks=manifest.marks)
    answer = answered(manifest, signed(manifest), lying)
    assert answer.signed and not answer.buckets
    assert taken(held, _head(manifest), answer.buckets) is None
    answer = answered(manifest, signed(manifest), whole)
    found = taken(Manifest(), _head(manifest), answer.buckets)
    assert found and found.bodies == manifest.bodies


def test_no_change_costs_less_than_a_kilobyte_and_one_change_a_few() -> None:
    before = Manifest.of(library(2_000))
    entries = {key_of(entry): entry for entry in library(2_000)}
    entries["asset:a00007"] = msgspec.structs.replace(entries["asset:a00007"], title="Outra")
    after = Manifest.of(entries.values())
    root, marks, whole = questions(before, 1)

    def cost(manifest: Manifest, question: Question) -> int:
        answer = answered(manifest, signed(manifest), question)
        return len(packed(question)) + len(packed(answer))

    assert cost(before, root) < 200
    assert cost(after, root) < 1_000
    assert cost(after, marks) < 4_000
    assert cost(after, whole) > 60_000
