"""Personal fields that leave a node in disguise, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.identity.private_files import PrivateFiles
from beira.kernel.collection import BOTH, UP, Pseudonym, Withheld, collection, collection_of
from beira.kernel.disguise import PSEUDONYM_CHARS, pseudonym
from beira.kernel.errors import Corrupt, Invalid
from beira.kernel.record import Fact, State
from beira.node.pseudonyms import FILE, pseudonym_key

KEYS = st.binary(min_size=32, max_size=32)


@given(st.text(min_size=1), st.text(min_size=1), KEYS, KEYS)
def test_one_value_one_pseudonym_under_one_key(a: str, b: str, key: bytes, other: bytes) -> None:
    assert pseudonym(a, key) == pseudonym(a, key) and len(pseudonym(a, key)) == PSEUDONYM_CHARS
    assert (pseudonym(a, key) == pseudonym(b, key)) == (a == b)
    assert (pseudonym(a, key) == pseudonym(a, other)) == (key == other)


def test_both_marks_make_a_field_personal() -> None:
    @collection("visits", flow=UP)
    class Visit(Fact):
        who: Annotated[str, Pseudonym]
        remark: Annotated[str, Withheld] = ""
        seconds: int = 0

    declared = collection_of(Visit)
    assert [name for name, field in declared.fields.items() if field.personal] == ["who", "remark"]
    assert declared.disguised


def test_declarations_that_cannot_be_are_refused() -> None:
    with pytest.raises(Invalid, match="can only go up"):

        @collection("coming_back", flow=BOTH)
        class ComingBack(State):
            who: Annotated[str, Pseudonym] = ""

    with pytest.raises(Invalid, match="needs a default"):

        @collection("missing", flow=UP)
        class Missing(Fact):
            who: Annotated[str, Withheld]

    with pytest.raises(Invalid, match="no text"):

        @collection("numbers", flow=UP)
        class Numbers(Fact):
            age: Annotated[int, Pseudonym]


def test_a_nodes_key_is_made_once_and_never_replaced(tmp_path: Path) -> None:
    key = pseudonym_key(tmp_path, PrivateFiles())
    assert pseudonym_key(tmp_path, PrivateFiles()) == key
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    (tmp_path / FILE).write_bytes(b"short")
    with pytest.raises(Corrupt):
        pseudonym_key(tmp_path, PrivateFiles())
