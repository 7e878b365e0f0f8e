"""The laws of manifests (beira.apps.player.manifest), over any two that a node and the cloud may hold."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beira.apps.player.manifest import (
    AssetEntry,
    Entry,
    Head,
    Manifest,
    PlaylistEntry,
    Question,
    SignedHead,
    SlotEntry,
    Step,
    answered,
    asked,
    believed,
    bucket_of,
    head_of,
    key_of,
    taken,
)
from beira.kernel.errors import BeiraError
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


def signed(manifest: Manifest, version: int = 1) -> SignedHead:
    head = Head(tenant="t", node="n", version=version, root=manifest.root,
                issued_at=datetime(2026, 6, 1, tzinfo=UTC))  # fmt: skip
    return SignedHead(head=msgspec.json.encode(head), signature=b"", key_id="k")


def come_to(held: Manifest, cloud: Manifest, begin: Step) -> Manifest:
    """All of a node's steps. The last must do, or `taken` raises."""
    for step in list(Step)[begin:]:
        answer = answered(cloud, signed(cloud), asked(held, 0, step))
        if answer.signed is None:
            return held
        found = taken(held, head_of(answer.signed), answer, step)
        if found is not None:
            return found
    raise AssertionError("no step was enough")


@settings(deadline=None)
@given(held=entries, there=entries, begin=st.sampled_from(Step))
def test_laws_1_and_4_a_node_comes_to_the_clouds_manifest(
    held: list[Entry], there: list[Entry], begin: Step
) -> None:
    cloud = Manifest.of(there)
    found = come_to(Manifest.of(held), cloud, begin)
    assert found.root == cloud.root and found.bodies == cloud.bodies
    assert sorted(map(key_of, found.entries)) == sorted(map(key_of, there))


@settings(deadline=None)
@given(held=entries, there=entries)
def test_law_4_only_buckets_that_differ_are_sent(held: list[Entry], there: list[Entry]) -> None:
    mine, cloud = Manifest.of(held), Manifest.of(there)
    sent = answered(cloud, signed(cloud), asked(mine, 0, Step.MARKS)).buckets
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
@given(held=entries, there=entries, forged=entries, step=st.sampled_from(Step))
def test_law_1_other_entries_than_the_signed_are_never_taken(
    held: list[Entry], there: list[Entry], forged: list[Entry], step: Step
) -> None:
    mine, cloud, other = Manifest.of(held), Manifest.of(there), Manifest.of(forged)
    answer = answered(other, signed(cloud), asked(mine, 0, step))
    if answer.signed is None:
        return
    try:
        found = taken(mine, head_of(answer.signed), answer, step)
    except Corrupt as error:
        assert error.code == "player.root" and other.root != cloud.root
        return
    assert found is None or found.bodies == cloud.bodies


@given(
    versions=st.lists(st.integers(0, 20), max_size=30), foreign=st.lists(st.booleans(), max_size=30)
)
def test_law_2_versions_never_go_back(versions: list[int], foreign: list[bool]) -> None:
    held = 0
    for version, other in zip(versions, foreign, strict=False):
        head = msgspec.structs.replace(
            head_of(signed(Manifest(), version)), node="m" if other else "n"
        )
        try:
            believed(head, tenant="t", node="n", held_version=held)
        except BeiraError:
            assert other or version < held
            continue
        assert not other and version >= held
        held = version


def test_a_manifest_may_hold_nothing() -> None:
    assert come_to(Manifest(), Manifest(), Step.ROOT).bodies == {}
    with pytest.raises(Corrupt):
        head_of(SignedHead(head=b"[]", signature=b"", key_id=""))
