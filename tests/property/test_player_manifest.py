"""The laws of manifests (beira.apps.player.manifest), over any two that a node and the cloud may hold."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from beira.apps.player.held import check, taken
from beira.apps.player.manifest import (
    AssetEntry,
    Entry,
    Head,
    Manifest,
    PlaylistEntry,
    Question,
    SignedHead,
    SlotEntry,
    answered,
    bucket_of,
    key_of,
)
from beira.apps.player.syncing import questions
from beira.sdk import Corrupt

ids = st.text(max_size=6)
entries = st.lists(
    st.one_of(
        st.builds(AssetEntry, id=ids, file=st.text(max_size=4), size_bytes=st.integers(0, 9),
                  title=st.text(max_size=9), duration_ms=st.integers(0, 9)),
        st.builds(PlaylistEntry, id=ids, name=st.text(max_size=4), assets=st.tuples(ids, ids)),
        st.builds(SlotEntry, id=ids, playlist=ids, nearness=st.integers(0, 3)),
    ),
    max_size=30, unique_by=key_of,
)  # fmt: skip


def head_of(manifest: Manifest, version: int = 1, node: str = "n") -> Head:
    return Head(tenant="t", node=node, version=version, root=manifest.root,
                issued_at=datetime(2026, 6, 1, tzinfo=UTC))  # fmt: skip


def signed(manifest: Manifest) -> SignedHead:
    return SignedHead(head=msgspec.json.encode(head_of(manifest)), signature=b"", key_id="k")


def come_to(held: Manifest, cloud: Manifest, begin: int) -> Manifest:
    """All that a node asks, beginning with the question of this number. One must do."""
    for question in questions(held, 0)[begin:]:
        answer = answered(cloud, signed(cloud), question)
        if answer.signed is None:
            return held
        base = held if question.root else Manifest()
        found = taken(base, head_of(cloud), answer.buckets)
        if found is not None:
            return found
    raise AssertionError("no question was enough")


@settings(deadline=None)
@given(held=entries, there=entries, begin=st.integers(0, 2))
def test_laws_1_and_4_a_node_comes_to_the_clouds_manifest(
    held: list[Entry], there: list[Entry], begin: int
) -> None:
    cloud = Manifest.of(there)
    found = come_to(Manifest.of(held), cloud, begin)
    assert found.root == cloud.root and found.bodies == cloud.bodies
    assert sorted(map(key_of, found.entries)) == sorted(map(key_of, there))


@settings(deadline=None)
@given(held=entries, there=entries)
def test_law_4_only_buckets_that_differ_are_sent(held: list[Entry], there: list[Entry]) -> None:
    mine, cloud = Manifest.of(held), Manifest.of(there)
    sent = answered(cloud, signed(cloud), questions(mine, 0)[1]).buckets
    changed = {
        bucket_of(key)
        for key in {*mine.bodies, *cloud.bodies}
        if mine.bodies.get(key) != cloud.bodies.get(key)
    }
    assert set(sent) == changed


@settings(deadline=None)
@given(
    there=entries, root=st.text(max_size=70), version=st.integers(), marks=st.binary(max_size=1_100)
)
def test_any_question_is_answered_with_what_is_there(
    there: list[Entry], root: str, version: int, marks: bytes
) -> None:
    cloud = Manifest.of(there)
    answer = answered(cloud, signed(cloud), Question(root=root, version=version, marks=marks))
    assert (answer.signed is None) == (root == cloud.root)
    for index, bodies in answer.buckets.items():
        assert bodies == list(cloud.buckets[index].values())


@settings(deadline=None)
@given(held=entries, there=entries, forged=entries, asked=st.integers(0, 2))
def test_law_1_other_entries_than_the_signed_are_never_taken(
    held: list[Entry], there: list[Entry], forged: list[Entry], asked: int
) -> None:
    mine, cloud, other = Manifest.of(held), Manifest.of(there), Manifest.of(forged)
    question = questions(mine, 0)[asked]
    answer = answered(other, signed(cloud), question)
    base = mine if question.root else Manifest()
    found = taken(base, head_of(cloud), answer.buckets)
    assert found is None or found.bodies == cloud.bodies


@given(heads=st.lists(st.tuples(st.integers(0, 20), st.sampled_from("nnnm")), max_size=30))
def test_law_2_versions_never_go_back(heads: list[tuple[int, str]]) -> None:
    held: Head | None = None
    for version, node in heads:
        head = head_of(Manifest(), version, node)
        old = held is not None and version < held.version
        try:
            check(head, held, "t", "n")
        except Corrupt:
            assert node != "n" or old
            continue
        assert node == "n" and not old
        held = head


def test_a_manifest_may_hold_nothing() -> None:
    assert come_to(Manifest(), Manifest(), 0).bodies == {}
