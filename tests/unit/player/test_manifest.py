"""A shop's manifest: what is believed of it, and what a question about it costs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
import pytest
import zstandard

from beira.apps.player.manifest import (
    BUCKETS,
    AssetEntry,
    Entry,
    Head,
    Manifest,
    PlaylistEntry,
    SignedHead,
    SlotEntry,
    Step,
    answered,
    asked,
    believed,
    body_of,
    bucket_of,
    entry_of,
    head_of,
    key_of,
    taken,
)
from beira.kernel.errors import Conflict, Corrupt, Denied

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


def signed(manifest: Manifest, version: int) -> SignedHead:
    head = Head(tenant="t", node="n", version=version, root=manifest.root, issued_at=HEAD.issued_at)
    return SignedHead(head=msgspec.json.encode(head), signature=b"s" * 64, key_id="k")


def test_an_entry_is_the_same_bytes_everywhere_and_comes_back() -> None:
    for entry in library(3):
        assert entry_of(body_of(entry)) == entry
        assert body_of(entry_of(body_of(entry))) == body_of(entry)


def test_the_order_of_entries_makes_no_difference() -> None:
    entries = list(library(50))
    assert Manifest.of(entries).root == Manifest.of(reversed(entries)).root


def test_another_nodes_or_tenants_head_is_refused() -> None:
    believed(HEAD, tenant="t", node="n", held_version=7)
    for tenant, node in (("t", "m"), ("u", "n")):
        with pytest.raises(Denied) as refused:
            believed(HEAD, tenant=tenant, node=node, held_version=0)
        assert refused.value.code == "player.head_foreign"


def test_an_older_head_is_refused() -> None:
    with pytest.raises(Conflict) as refused:
        believed(HEAD, tenant="t", node="n", held_version=8)
    assert refused.value.code == "player.head_old"


def test_a_head_that_is_none_is_told() -> None:
    for body in (b"", b"{}", b'{"tenant": 1}', b"\xff" * 40):
        with pytest.raises(Corrupt) as refused:
            head_of(SignedHead(head=body, signature=b"", key_id=""))
        assert refused.value.code == "player.head"


def test_entries_that_do_not_come_to_the_root_are_refused() -> None:
    manifest = Manifest.of(library(40))
    answer = answered(manifest, signed(manifest, 1), asked(Manifest(), 0, Step.WHOLE))
    assert answer.signed
    index, bodies = next(iter(answer.buckets.items()))
    forged = {**answer.buckets, index: bodies[1:]}
    changed = msgspec.structs.replace(answer, buckets=forged)
    with pytest.raises(Corrupt) as refused:
        taken(Manifest(), head_of(answer.signed), changed, Step.WHOLE)
    assert refused.value.code == "player.root"


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
    lying = msgspec.structs.replace(asked(held, 1, Step.MARKS), marks=manifest.marks)
    answer = answered(manifest, signed(manifest, 2), lying)
    assert answer.signed and not answer.buckets
    assert taken(held, head_of(answer.signed), answer, Step.MARKS) is None
    answer = answered(manifest, signed(manifest, 2), asked(held, 1, Step.WHOLE))
    assert answer.signed
    whole = taken(held, head_of(answer.signed), answer, Step.WHOLE)
    assert whole and whole.bodies == manifest.bodies


def test_no_change_costs_less_than_a_kilobyte_and_one_change_a_few() -> None:
    before = Manifest.of(library(2_000))
    entries = {key_of(entry): entry for entry in library(2_000)}
    entries["asset:a00007"] = msgspec.structs.replace(entries["asset:a00007"], title="Outra")
    after = Manifest.of(entries.values())

    def cost(held: Manifest, manifest: Manifest, step: Step) -> int:
        question = asked(held, 1, step)
        answer = answered(manifest, signed(manifest, 2), question)
        return sum(
            len(zstandard.compress(msgspec.msgpack.encode(one))) for one in (question, answer)
        )

    assert cost(before, before, Step.ROOT) < 200
    assert cost(before, after, Step.ROOT) < 1_000
    assert cost(before, after, Step.MARKS) < 4_000
    assert cost(before, after, Step.WHOLE) > 60_000
