"""News of revocations between replicas: heard at once, and doubted when the line was cut."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import asyncpg
import pytest
from tests.unit.identity.conftest import PASSWORD, Clock, World
from tests.unit.identity.refusals import refused

from beira.identity import Identity, ServerKey
from beira.identity.shapes import Revocation
from beira.identity.tenants import service
from beira.identity.watch import Watch
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import Unavailable
from beira.store.postgres import EmbeddedPostgres, PostgresCloud


async def test_what_is_remembered_is_not_asked_again(world: World) -> None:
    signed = await world.signed_in(await world.tenant())
    await world.one.principal(signed.access_token)
    await world.cloud.pool.execute("SELECT 1")
    watch = world.one._watch
    assert f"session:{signed.session}" in watch._memory
    world.clock.now_s += 21
    asked = []

    async def ask() -> Principal:
        asked.append(1)
        return Principal(kind=Kind.PERSON, id="x", tenant="t")

    await watch.remembered(f"session:{signed.session}", world.clock.now_s, ask)
    assert asked, "after a while it is asked again, news or not"


async def test_an_answer_older_than_the_news_is_not_remembered(world: World) -> None:
    """The check read the row, then it was revoked and told of, and only then the check came back."""
    watch: Watch = world.one._watch
    principal = Principal(kind=Kind.PERSON, id="x", tenant="t")

    async def slow() -> Principal:
        watch.tell(Revocation(kind="session", id="slow", tenant="t"))
        return principal

    await watch.remembered("session:slow", 0.0, slow)
    assert "session:slow" not in watch._memory


async def test_signing_out_is_heard_by_the_other_replica(world: World) -> None:
    signed = await world.signed_in(await world.tenant())
    grant = await world.two.grant(signed.access_token)
    news = asyncio.Event()
    end = world.two.subscribe(lambda told: news.set() if grant.touched_by(told) else None)
    by = await world.one.principal(signed.access_token)
    await world.one.people.sign_out(by, signed.session)
    await asyncio.wait_for(news.wait(), 5)
    end()
    await refused(world.two.still(grant), "auth.revoked")


async def test_a_listener_that_fails_does_not_keep_news_from_others(world: World) -> None:
    told = []

    def bad(news: object) -> None:
        raise RuntimeError("listener")

    ends = [world.one.subscribe(bad), world.one.subscribe(told.append)]
    tenant = await world.tenant()
    signed = await world.signed_in(tenant)
    by = await world.one.principal(signed.access_token)
    await world.one.people.sign_out(by, signed.session)
    for end in ends:
        end()
    assert any(news.id == signed.session for news in told)


async def test_what_was_missed_while_the_line_was_cut_is_told(world: World, monkeypatch) -> None:
    tenant = await world.tenant()
    signed = await world.signed_in(tenant)
    node, _ = await world.node(tenant, await world.site(tenant))
    key = ServerKey(world.secret)
    third = Identity(world.cloud, key, public_url="https://c", now=world.clock)
    monkeypatch.setattr(third._watch, "_received", lambda *_: None)  # deaf to what is sent
    await third.start()
    await third.principal(signed.access_token)
    told, lost = [], asyncio.Event()

    def listen(news: Revocation) -> None:
        told.append((news.kind, news.id))
        if news.kind == "lost":
            lost.set()

    third.subscribe(listen)
    owner = await asyncpg.connect(world.owner_dsn)
    await owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND (query LIKE 'LISTEN%' OR query = 'SELECT 1')"
    )
    await owner.close()
    by = await world.one.principal(signed.access_token)
    await world.one.people.sign_out(by, signed.session)
    await world.one.nodes.revoke(service(tenant), node.node)
    await asyncio.wait_for(lost.wait(), 20)
    assert ("session", signed.session) in told and ("node", node.node) in told
    await refused(third.principal(signed.access_token), "auth.revoked")
    await third.close()


async def test_with_the_database_gone_it_says_so_and_recovers(postgres_registry) -> None:
    directory = Path(tempfile.mkdtemp(prefix="beira-identity-"))
    server = await EmbeddedPostgres.start(directory)
    cloud = await PostgresCloud.open(server.dsn, postgres_registry, owner_dsn=server.owner_dsn)
    identity = Identity(cloud, ServerKey(os.urandom(32)), public_url="https://c", now=Clock())
    await identity.start()
    await identity.people.create_first_owner("Loja", "o@example.com", PASSWORD)
    signed = await identity.people.sign_in("o@example.com", PASSWORD)
    await identity.principal(signed.access_token)
    await server.stop()
    with pytest.raises(Unavailable) as caught:
        await identity.people.sign_in("o@example.com", PASSWORD)
    assert caught.value.hint
    with pytest.raises(Unavailable):
        for _ in range(100):  # what was remembered holds until it is noticed that nothing is heard
            await identity.principal(signed.access_token)
            await asyncio.sleep(0.1)
    server = await EmbeddedPostgres.start(directory)
    for _ in range(100):
        try:
            assert await identity.principal(signed.access_token)
            break
        except Unavailable:
            await asyncio.sleep(0.1)
    else:
        pytest.fail("it did not come back")
    await identity.close()
    await cloud.close()
    await server.stop()
    shutil.rmtree(directory, ignore_errors=True)
