"""What may be trained on, when a new dictionary is tried and when it is kept."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.kernel import limits
from beira.kernel.batch import pack
from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.collection import (
    IMPORTANT,
    SITE,
    UP,
    Personal,
    Registry,
    collection,
    collection_of,
)
from beira.kernel.dictionary import agreed, harmless, is_due, is_held_out, is_worth
from beira.kernel.record import DELETED, Fact, Row
from beira.kernel.wire import Ack, Feed, Hello, Ping, Push, Refused, Status

UUID = "01990000-0000-7000-8000-000000000001"
NOW_MS = 1_790_000_000_000


@collection("talks_for_dictionaries", flow=UP, lane=IMPORTANT, partition=SITE)
class Talk(Fact):
    who: Annotated[str, Personal]
    kind: str
    heard: Annotated[dict[str, Any], Personal] = {}


REGISTRY = Registry([collection_of(Talk)])


def push(partition: str = "site:a", id: str = UUID, kind: str = "in", **more: Any) -> Push:
    fields = {"heard": {"said": "Zoraide"}, "kind": kind, "who": "Zoraide", DELETED: False, **more}
    row = Row(
        collection="talks_for_dictionaries", id=id, partition=partition, fields=fields,
        stamp=Stamp(hlc_at(NOW_MS), 1, "n1"),
    )  # fmt: skip
    return Push(lane=1, after=0, upto=1, groups=pack([row]))


def test_personal_and_unknown_fields_are_blank_and_the_others_as_they_were() -> None:
    kept = harmless(push(nickname="Zoraide"), REGISTRY, "a")
    assert isinstance(kept, Push)
    (group,) = kept.groups
    told = dict(zip(group.fields, group.columns, strict=True))
    assert told == {"heard": [""], "kind": ["in"], "nickname": [""], "who": [""], DELETED: [False]}
    assert group.ids == [UUID]
    assert "Zoraide" not in repr(kept)


@pytest.mark.parametrize("partition", ["site:b", "node:n1", "group:g"])
def test_what_not_all_nodes_of_the_site_may_see_is_left_out(partition: str) -> None:
    message = push(partition)
    assert harmless(message, REGISTRY, "a") is None
    feed = Feed(partition=partition, after=0, upto=1, groups=message.groups)
    assert harmless(feed, REGISTRY, "a") is None
    assert harmless(push("tenant"), REGISTRY, "a") is not None


def test_ids_that_are_words_are_blank() -> None:
    kept = harmless(push(id="zoraide-da-silva"), REGISTRY, "a")
    assert isinstance(kept, Push)
    assert kept.groups[0].ids == [""]


def test_unknown_collections_and_other_messages_are_left_out() -> None:
    assert harmless(push(), Registry([]), "a") is None
    refused = Refused(collection="c", id="i", code="x", message="Zoraide is no number")
    assert harmless(Ack(lane=1, upto=3, refused=[refused]), REGISTRY, "a") is None
    assert harmless(Hello(protocol=1, release="r", ticket=5, clock_ms=0), REGISTRY, "a") is None
    assert harmless(Ping(sent_ms=3), REGISTRY, "a") == Ping(sent_ms=3)


def test_a_status_keeps_its_figures_and_no_text_of_anyones() -> None:
    fields = {
        "release": "1", "last_error": "Zoraide", "pending": {"critical": 0, "why": "Zoraide"},
        "held": ["Zoraide"], "rtt_ms": 8.5,
    }  # fmt: skip
    kept = harmless(Status(fields=fields), REGISTRY, "a")
    assert isinstance(kept, Status)
    assert kept.fields == {
        "release": "1", "last_error": "", "pending": {"critical": 0, "why": ""}, "held": [""],
        "rtt_ms": 8.5,
    }  # fmt: skip


def test_a_try_needs_enough_to_go_by_and_comes_once_a_day() -> None:
    enough, day_ms = limits.DICTIONARY_CHANGES_LEAST, limits.DICTIONARY_EVERY_S * 1_000
    assert is_due(NOW_MS, None, enough)
    assert not is_due(NOW_MS, None, enough - 1)
    assert not is_due(NOW_MS, NOW_MS - day_ms + 1, enough)
    assert is_due(NOW_MS, NOW_MS - day_ms, enough)


def test_a_new_one_is_kept_only_if_it_saves_a_twentieth() -> None:
    assert is_worth(1_000, 950)
    assert not is_worth(1_000, 951)
    assert not is_worth(0, 0), "no dictionary was made"


def test_every_fifth_message_is_to_judge_by() -> None:
    assert [n for n in range(1, 16) if is_held_out(n)] == [5, 10, 15]


names = st.dictionaries(st.integers(2, 6), st.sampled_from(["x", "y"]))


@given(names, names)
def test_what_is_agreed_is_the_same_at_both_ends(
    here: dict[int, str], there: dict[int, str]
) -> None:
    number = agreed(here, there)
    common = {n for n in here if there.get(n) == here[n]}
    assert number == agreed(there, here) == max(common, default=0)
