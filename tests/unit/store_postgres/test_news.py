"""What goes through NOTIFY fits into it."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.store_postgres.collections_ import row

from beira.store.postgres.listen import payloads

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)


@given(st.lists(st.tuples(st.sampled_from(["sales", "products"]), ids, ids), max_size=300))
def test_payloads_fit_and_say_all(items: list[tuple[str, str, str]]) -> None:
    made = payloads('ten"ant', (row(c, id, 1, partition) for c, id, partition in items))
    assert all(len(text.encode()) < 8_000 for text in made)
    told = [
        (collection, id, partition)
        for text in made
        for _tenant, collection, partition, found in msgspec.json.decode(text)
        for id in found
    ]
    assert told == items


def test_few_payloads_for_many_rows() -> None:
    assert len(payloads("t", (row("sales", f"{n:032x}", 1) for n in range(1_000)))) <= 5
