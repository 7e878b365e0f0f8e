# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A stolen SD card gives nothing: on a node that is encrypted, no file holds a name, a word that was
said, an address or a key, while it runs or after; and the commands say what to do about keys."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import numpy as np
import pytest

from beira.apps.voice.engines.cache import SpeechCache
from beira.apps.voice.engines.kept import KeptAudio
from beira.apps.voice.recogniser import pronounce
from beira.apps.voice.recogniser.adapt import Adaptation, save
from beira.apps.voice.records import CustomerRequest, Person
from beira.identity.node_key import NodeKey
from beira.identity.tenants import service
from beira.kernel.clock import hlc_at
from beira.node import at_rest
from beira.node import program as node_program
from beira.node.program import Node
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    commands,
    company,
    drained,
    postgres_directory,
    postgres_server,
    put,
    row_of,
)

SAID = "um cliente pediu leite de amêndoa"
PERSON = "Zuleica Prudêncio"
GONE = "isto foi esquecido depois"
SPOKEN = "Ponto de Zuleica registrado"
PCM = bytes(range(0, 250, 2)) * 400


async def a_day(company: Company, node: Node, tenant: str) -> None:
    """People and products come down, a sentence goes up, somebody signs in, the voice keeps things,
    and something old is forgotten."""
    await put(await company.host(tenant), Person(id="z", name=PERSON))
    await row_of(node.store, "people", "z")
    for id, text in (("old", GONE), ("said", SAID)):
        await put(node.host, CustomerRequest(id=id, text=text, at=node.host.now()))
    await drained(node)
    assert await company.web.at(node.address).sign_in(f"member@{tenant}.example")
    await node.store.forget("customer_requests", hlc_at(1 << 42), most=1)
    voice = node.store.path.parent / "voice"
    KeptAudio(voice / "audio", node.host.private).keep("trace-1", np.frombuffer(PCM, "<i2"))
    SpeechCache(voice / "speech", node.host.private).put(SPOKEN, 22_050, PCM)
    words = pronounce.Pronouncer(cache=voice / "words.json", files=node.host.private)
    words._known["zuleica"] = (1, 2)
    words._save()
    save(Adaptation(1.0, np.ones((2, 2)), np.ones(2)), voice / "voice.npz", node.host.private)


def secrets_of(company: Company, node: Node, tenant: str, key: NodeKey) -> dict[str, bytes]:
    place = node.host.place
    return {
        "what was said": SAID.encode(),
        "what was forgotten": GONE.encode(),
        "a person": PERSON.encode(),
        "the tenant": tenant.encode(),
        "the node": place.name.encode(),
        "who signed in": f"member@{tenant}.example".encode(),
        "the cloud": company.address.encode(),
        "the node's key": key._private,
        "a recording": PCM[:512],
        "a word's sounds": b"zuleica",
        "a voice": b"PK\x03\x04",
        "a database": b"SQLite format 3",
    }


def found_in(folder: Path, wanted: dict[str, bytes]) -> set[tuple[str, str]]:
    """Which of them the files of the folder hold, or their names: (what, where). The folder of blobs
    is named after the tenant (docs/howto/encryption.md says so)."""
    found = set()
    for path in folder.rglob("*"):
        where = str(path.relative_to(folder))
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # the node runs, and takes its own away
            continue
        found |= {(what, where) for what, text in wanted.items() if text in content}
        if not where.startswith(at_rest.BLOBS_FOLDER):
            found |= {(what, where) for what, text in wanted.items() if text in where.encode()}
    return found


@pytest.mark.parametrize("encrypted", [True, False])
async def test_no_file_of_an_encrypted_node_holds_anything_readable(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    """Of a plain one they hold it all: so the test can fail."""
    for name in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    tenant = await company.tenant("angeloni")
    code = await company.cloud.identity.nodes.make_code(
        service(tenant), f"{tenant}-1", name="balcão secreto"
    )
    key_from = f"file:{tmp_path}/usb/key" if encrypted else ""
    data = tmp_path / "data"
    await node_program.enrol(data, company.address, code.code, key_from=key_from)
    async with company.plug() as plug:
        async with company.node(data, plug) as node:
            await a_day(company, node, tenant)
            key = NodeKey.load(data / "node.key", node.host.private)
            wanted = secrets_of(company, node, tenant, key)
            running = found_in(data, wanted) | found_in(tmp_path / "temporary", wanted)
        stopped = found_in(data, wanted)
        if not encrypted:
            assert {what for what, _ in running | stopped} == set(wanted)
            return
        assert running == stopped == set()
        at_rest.rekey(data)
        assert found_in(data, wanted) == set()
        async with company.node(data, plug) as node:
            await row_of(node.store, "customer_requests", "said", text=SAID)
            voice = data / "voice"
            assert SpeechCache(voice / "speech", node.host.private).size_bytes > 0
            words = pronounce.Pronouncer(cache=voice / "words.json", files=node.host.private)
            assert words._known["zuleica"] == (1, 2)
            await put(node.host, CustomerRequest(id="after", text="x", at=node.host.now()))
            await drained(node)


async def test_a_node_that_was_plain_is_encrypted_and_goes_on(
    company: Company, tmp_path: Path
) -> None:
    tenant = await company.tenant("angeloni")
    data = await company.enrol(tenant)
    async with company.plug() as plug:
        async with company.node(data, plug) as node:
            await a_day(company, node, tenant)
            wanted = secrets_of(company, node, tenant, NodeKey.load(data / "node.key"))
        assert found_in(data, wanted)
        at_rest.rekey(data, f"file:{tmp_path}/key")
        assert found_in(data, wanted) == set()
        async with company.node(data, plug) as node:
            await row_of(node.store, "customer_requests", "said", text=SAID)
            await put(node.host, CustomerRequest(id="after", text="x", at=node.host.now()))
            await drained(node)


def told(*asked: tuple[str, ...]) -> list[str]:
    """What each command said; each must fail in plain words."""
    said = []
    for code, text in commands(*asked):
        assert code == 1 and "Traceback" not in text, text
        said.append(text)
    return said


def test_the_commands_say_what_is_wrong_with_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BEIRA_KEY_FROM", raising=False)
    data, plain = tmp_path / "data", tmp_path / "plain"
    for folder in (data, plain):
        folder.mkdir()
    at_rest.begin(data, f"file:{tmp_path}/key")
    (plain / "node.json").write_text("{}")
    (tmp_path / "key").rename(tmp_path / "moved")
    (tmp_path / "other").write_text(secrets.token_hex(32))
    (tmp_path / "other").chmod(0o600)
    run = ("node", "run", "--data", str(data))
    missing, wrong, unknown, on_plain = told(
        run,
        (*run, "--key-from", f"file:{tmp_path}/other"),
        (*run, "--key-from", "somewhere"),
        ("node", "run", "--data", str(plain), "--key-from", f"file:{tmp_path}/moved"),
    )
    assert "at_rest.key_missing" in missing and "--key-from" in missing
    assert "at_rest.key_wrong" in wrong and "untouched" in wrong
    assert "at_rest.source" in unknown
    assert "at_rest.plain" in on_plain and "beira node rekey --to" in on_plain
    rekey = ("node", "rekey", "--data", str(data), "--key-from", f"file:{tmp_path}/moved")
    doctor = ("node", "doctor", "--data", str(data))
    (code, said), (_, examined) = commands(rekey, doctor)
    assert code == 0 and "under a new key now" in said, said
    assert re.search(r"no\s+encryption: AES-256; the key .* is on the same disk", examined), (
        examined
    )
