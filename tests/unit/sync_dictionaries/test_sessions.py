"""Which dictionary two ends use, whatever each of them has; and that a wrong one never misleads."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.sync_dictionaries.support import HELLO, WELCOME, greeted, made, push, shelf

from beira.kernel.dictionary import SHIPPED
from beira.kernel.errors import BeiraError, Corrupt
from beira.kernel.wire import Ack, Bye, Feed, Hello, Welcome
from beira.sync.brief import WRONG_DICTIONARY, BriefCodec, Dictionary
from beira.sync.codec import PACKED

ALL = [(2, "bicicletaria"), (3, "bicicletaria"), (3, "floricultura"), (4, "floricultura")]
some = st.lists(st.sampled_from(ALL), max_size=3).map(lambda keys: [made(*key) for key in keys])


@given(some, some, st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.text(max_size=30))
def test_whatever_the_two_have_all_arrives_as_it_was(
    here: list[Dictionary], there: list[Dictionary], numbers: list[int], word: str
) -> None:
    word = word.encode(errors="ignore").decode()
    node, cloud = greeted(shelf(*here), shelf(*there))
    assert node.dictionary == cloud.dictionary
    mine = {one.number: one for one in here}
    both = [n for n, one in {o.number: o for o in there}.items() if mine.get(n) == one]
    assert node.dictionary == max(both, default=SHIPPED)
    for number in numbers:
        message = push(number, word)
        assert cloud.decode(node.encode([message])) == [message]
        feed = Feed(partition="site:a", after=0, upto=1, groups=message.groups)
        assert node.decode(cloud.encode([feed])) == [feed]


def test_the_sites_own_makes_its_messages_smaller() -> None:
    plain, _ = greeted(shelf(), shelf())
    node, cloud = greeted(shelf(made(2)), shelf(made(2)))
    assert (plain.dictionary, node.dictionary) == (SHIPPED, 2)
    shipped_bytes = sum(len(plain.encode([push(at)])) for at in range(700, 760))
    own_bytes = sum(len(node.encode([push(at)])) for at in range(700, 760))
    assert own_bytes < 0.8 * shipped_bytes
    assert cloud.decode(node.encode([push(9)])) == [push(9)]


def test_ends_of_before_are_served_as_before() -> None:
    """Hello and welcome without a word of dictionaries, either side."""
    node, cloud = BriefCodec(is_node=True, shelf=shelf(made(2))), BriefCodec(is_node=False)
    cloud.decode(node.encode([HELLO]))
    node.decode(cloud.encode([WELCOME]))
    assert cloud.decode(node.encode([push(1)])) == [push(1)]
    old, new = BriefCodec(is_node=True), BriefCodec(is_node=False, shelf=shelf(made(2)))
    new.decode(old.encode([HELLO]))
    old.decode(new.encode([WELCOME]))
    assert new.decode(old.encode([push(1)])) == [push(1)]
    assert old.dictionary == new.dictionary == SHIPPED


def test_the_new_fields_are_left_out_where_there_is_nothing_to_say() -> None:
    assert b"dicts" not in msgspec.json.encode(HELLO)
    assert b"speaks" not in msgspec.json.encode(WELCOME)
    told = msgspec.json.decode(b'{"type":"hello","protocol":1,"release":"","ticket":0,"clock_ms":0,'
                               b'"dicts":{"2":"ab"}}', type=Hello)  # fmt: skip
    assert told.dicts == {2: "ab"}


class Watched:
    """A shelf that notes what it is told."""

    def __init__(self, *held: Dictionary) -> None:
        self.shelf: Any = shelf(*held)
        self.doubts = 0
        self.shelf.distrust = self._doubt

    def _doubt(self) -> None:
        self.doubts += 1


def test_a_frame_of_another_dictionary_is_refused_and_doubted() -> None:
    """Same number, other content could not be agreed on; here an end lies about it."""
    there = Watched(made(3))
    node, cloud = greeted(shelf(made(3)), there.shelf)
    cloud._dictionary = made(2)
    with pytest.raises(Corrupt) as told:
        cloud.decode(node.encode([push(1)]))
    assert told.value.code == WRONG_DICTIONARY
    assert "3" in told.value.message and "2" in told.value.message
    assert told.value.hint
    assert there.doubts == 1


def test_a_node_told_so_doubts_what_it_has() -> None:
    here = Watched(made(3))
    node, cloud = greeted(here.shelf, shelf(made(3)))
    node.decode(cloud.encode([Bye(code="sync.silent", message="")]))
    assert here.doubts == 0
    node.decode(cloud.encode([Bye(code=WRONG_DICTIONARY, message="")]))
    assert here.doubts == 1


def test_a_cloud_that_speaks_one_never_offered_is_refused() -> None:
    node = BriefCodec(is_node=True, shelf=shelf(made(2)))
    node.encode([HELLO])
    lie: Welcome = msgspec.structs.replace(WELCOME, speaks=7)
    with pytest.raises(Corrupt) as told:
        node.decode(PACKED.encode([lie]))
    assert told.value.code == WRONG_DICTIONARY


@given(st.binary(max_size=120))
def test_bytes_of_anyone_are_refused_or_read_and_nothing_else(data: bytes) -> None:
    node, cloud = greeted(shelf(made(2)), shelf(made(2)))
    spoilt = bytearray(node.encode([Ack(lane=1, upto=3)]))
    spoilt[5:] = data
    try:
        cloud.decode(bytes(spoilt))
    except BeiraError:
        return
