"""Two replicas of the cloud on one database, and many writers at once: nothing lost, no deadlock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.contract.postgres_fixture import fresh_database, fresh_tenant
from tests.unit.store_postgres.collections_ import REGISTRY, row, sale

from beira.kernel.errors import Conflict
from beira.kernel.record import Row
from beira.store.port import News
from beira.store.postgres import EmbeddedPostgres, PostgresCloud, PostgresStore

Pair = tuple[PostgresStore, PostgresStore]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clouds(
    postgres_server: EmbeddedPostgres,
) -> AsyncIterator[tuple[PostgresCloud, PostgresCloud]]:
    dsn, owner_dsn = await fresh_database(postgres_server)
    opened = await asyncio.gather(
        *(PostgresCloud.open(dsn, REGISTRY, owner_dsn=owner_dsn) for _ in range(2))
    )
    yield opened[0], opened[1]
    for cloud in opened:
        await cloud.close()


@pytest.fixture
def pair(clouds: tuple[PostgresCloud, PostgresCloud]) -> Pair:
    tenant = fresh_tenant()
    return clouds[0].tenant(tenant), clouds[1].tenant(tenant)


async def everything(store: PostgresStore, stream: str) -> list[Row]:
    found = await store.since(stream, 0, whole=True, most=10_000, most_bytes=10**8)
    assert not found.more
    return list(found.rows)


async def test_writers_of_one_new_row_are_merged(pair: Pair) -> None:
    for id in "abcde":
        parts = [row("products", id, 10 + at, **{f"field_{at}": at}) for at in range(16)]
        await asyncio.gather(
            *(pair[at % 2].commit([part], route=lambda _: "s") for at, part in enumerate(parts))
        )
        found = await pair[0].get("products", id)
        assert found is not None
        assert found.fields == {f"field_{at}": at for at in range(16)}
        assert {name: found.stamp_of(name).hlc for name in found.fields} == {
            f"field_{at}": 10 + at for at in range(16)
        }


async def test_many_writers_of_many_rows_in_any_order(pair: Pair) -> None:
    """Partitions, collections and streams overlap in every way; each commit names many of them."""
    random_ = random.Random(20)
    commits = []
    for at in range(60):
        rows = [
            make(f"{site}-{id}", site, at)
            for site in random_.sample(range(4), 3)
            for id in random_.sample(range(8), 5)
            for make in random_.sample([_product, _sale], 1)
        ]
        random_.shuffle(rows)
        commits.append(rows)
    await asyncio.gather(
        *(
            pair[at % 2].commit(rows, route=lambda row: f"feed:{row.partition}", marks={"m": at})
            for at, rows in enumerate(commits)
        )
    )
    last = {(r.collection, r.id): r for rows in commits for r in rows if r.collection == "products"}
    for key, written in last.items():
        assert await pair[0].get(*key) == written
    for site in range(4):
        named = await everything(pair[1], f"feed:site:{site}")
        assert {(r.collection, r.id) for r in named} == {
            (r.collection, r.id) for rows in commits for r in rows if r.partition == f"site:{site}"
        }


def _product(id: str, site: int, at: int) -> Row:
    return row("products", id, 100 + at, f"site:{site}", name=f"at {at}")


def _sale(id: str, site: int, at: int) -> Row:
    return row("sales", id, 5, f"site:{site}", product="the same")


async def test_positions_become_visible_in_order(pair: Pair) -> None:
    """A reader that follows while others write sees every record, though it never looks back."""
    seen: list[str] = []
    done = asyncio.Event()

    async def follow() -> None:
        after = 0
        while True:
            ended = done.is_set()
            found = await pair[1].since("feed", after, most=7, most_bytes=10**6)
            seen.extend(r.id for r in found.rows)
            after = found.upto
            if ended and not found.more:
                return

    async def write(site: int) -> None:
        for at in range(15):
            rows = [sale(f"{site}-{at}-{n}", partition=f"site:{site}") for n in range(5)]
            await pair[site % 2].commit(rows, route=lambda _: "feed")

    reader = asyncio.create_task(follow())
    await asyncio.gather(*(write(site) for site in range(6)))
    done.set()
    await reader
    assert len(seen) == len(set(seen)) == 6 * 15 * 5
    assert (await pair[0].pending("feed")).last == 6 * 15 * 5


@pytest.mark.parametrize("present", [None, 1])
async def test_of_many_who_expect_one_mark_one_wins(pair: Pair, present: int | None) -> None:
    if present is not None:
        await pair[0].commit([], marks={"lease": present})

    async def take(at: int) -> bool:
        try:
            await pair[at % 2].commit(
                [row("products", f"p{at}", 1, name="x")],
                expect={"lease": present},
                marks={"lease": f"mine {at}"},
            )
        except Conflict as error:
            assert error.code == "marks.moved"
            return False
        return True

    won = await asyncio.gather(*(take(at) for at in range(12)))
    assert won.count(True) == 1
    winner = won.index(True)
    assert await pair[1].marks() == {"lease": f"mine {winner}"}
    kept = [at for at in range(12) if await pair[0].get("products", f"p{at}")]
    assert kept == [winner]


async def test_one_id_in_two_partitions_at_once(pair: Pair) -> None:
    for id in (f"id{n}" for n in range(10)):
        rows = [
            row("products", id, 5, "site:1", name="a"),
            row("products", id, 6, "site:2", name="b"),
        ]
        done = await asyncio.gather(
            *(store.commit([r]) for store, r in zip(pair, rows, strict=True)),
            return_exceptions=True,
        )
        refused = [error for error in done if isinstance(error, Conflict)]
        assert [error.code for error in refused] == ["partition.fixed"]
        assert await pair[0].get("products", id) in rows


async def test_two_facts_of_one_id_keep_the_first(pair: Pair) -> None:
    for id in (f"id{n}" for n in range(10)):
        rows = [sale(id, hlc=5, product="a"), sale(id, hlc=6, product="b")]
        await asyncio.gather(*(s.commit([r]) for s, r in zip(pair, rows[::-1], strict=True)))
        assert await pair[0].get("sales", id) == rows[0]


async def test_trimming_while_writing(pair: Pair) -> None:
    got: set[str] = set()

    async def write(at: int) -> None:
        for n in range(20):
            rows = [row("products", f"p{i}", 1 + at * 100 + n, name=f"{at} {n}") for i in range(9)]
            await pair[at % 2].commit(rows, route=lambda _: "s")

    async def consume() -> None:
        for _ in range(30):
            found = await pair[0].since("s", 0, most=5, most_bytes=10**6)
            got.update(r.id for r in found.rows)
            await pair[1].trim("s", found.upto, marks={"acked": found.upto})

    await asyncio.gather(*(write(at) for at in range(4)), consume())
    left = await everything(pair[0], "s")
    assert got | {r.id for r in left} == {f"p{i}" for i in range(9)}
    assert (await pair[0].pending("s")).last >= (await pair[0].marks())["acked"]


async def test_both_replicas_hear_both(pair: Pair) -> None:
    heard: list[list[News]] = [[], []]
    both = asyncio.Event()

    def listener(at: int, news: News) -> None:
        heard[at].append(news)
        if all(len({r for n in told for r in n.rows}) == 2_000 for told in heard):
            both.set()

    ends = [s.subscribe(lambda n, at=at: listener(at, n)) for at, s in enumerate(pair)]  # type: ignore[misc]
    for at, store in enumerate(pair):
        await store.commit([sale(f"{'é' * 40}{at}-{n}") for n in range(1_000)])
    await asyncio.wait_for(both.wait(), 10)
    rows = [r for n in heard[0] for r in n.rows]
    assert len(rows) == len(set(rows)) == 2_000
    for end in ends:
        end()
    await pair[0].commit([sale("later")])
    await asyncio.sleep(0.2)
    assert len([r for n in heard[0] for r in n.rows]) == 2_000
