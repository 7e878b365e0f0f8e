"""A sync client written from docs/specs/sync.md alone: plain JSON over HTTP, nothing of Beira.

It keeps its rows and its log in dictionaries, and knows no more of an app than which collections it
writes. What it needs and the page does not say is a fault of the page.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
import zlib
from base64 import urlsafe_b64encode
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Row = dict[str, Any]
"""{"collection", "id", "partition", "fields": {name: [value, [hlc, lane, node]]}}"""
LANES = (2, 1, 0)


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


class PlainClient:
    """One node. `skew_ms` is how wrong its clock is."""

    def __init__(self, session: aiohttp.ClientSession, cloud: str, skew_ms: int = 0) -> None:
        self._session = session
        self._cloud = cloud
        self._key = Ed25519PrivateKey.generate()
        self._skew_ms = skew_ms
        self._offset_ms = 0
        self._last_hlc = 0
        self.node = ""
        self.rows: dict[tuple[str, str], Row] = {}
        self.logs: dict[int, dict[int, list[tuple[str, str]]]] = {lane: {} for lane in LANES}
        self.ends = dict.fromkeys(LANES, 0)
        self.acked = dict.fromkeys(LANES, 0)
        self.cursors: dict[str, int] = {}
        self.ticket = 0
        self.database = ""
        self.run = secrets.randbelow(1 << 53)
        self.refused: list[dict[str, Any]] = []
        self.partitions: list[str] = []
        self.ended: dict[str, Any] | None = None

    async def enrol(self, code: str) -> None:
        challenge = await self._post("/auth/v1/nodes/challenge", {})
        public = base64url(self._key.public_key().public_bytes_raw())
        signed = b"beira enrol 1"
        letters = "".join(c for c in code.upper() if c.isalnum())
        for part in (letters, challenge["nonce"], public):
            signed += len(part.encode()).to_bytes(2, "big") + part.encode()
        proof = base64url(self._key.sign(signed))
        told = await self._post(
            "/auth/v1/nodes/enrol",
            {"code": code, "public_key": public, "nonce": challenge["nonce"], "proof": proof},
        )
        self.node = told["node"]

    def write(self, collection: str, id: str, partition: str, lane: int, **fields: Any) -> None:
        """Write some or all fields of a record, as of now, into its lane's log."""
        self._last_hlc = max(self._now_ms() << 11, self._last_hlc + 1)
        stamp = [self._last_hlc, lane, self.node]
        made = {name: [value, stamp] for name, value in fields.items()}
        self._merge({"collection": collection, "id": id, "partition": partition, "fields": made})
        self.ends[lane] += 1
        self.logs[lane][self.ends[lane]] = [(collection, id)]

    async def exchange(self, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        """One request: hello, then `messages`; what came back is taken in."""
        hello = {
            "type": "hello",
            "protocol": 1,
            "release": "plain",
            "ticket": self.ticket,
            "sure": bool(self.ended and self.ended["code"] == "node.ticket_old"),
            "clock_ms": self._now_ms(),
            "cursors": self.cursors,
            "cloud": self.database,
            "logs": [self.run],
            "acked": self.acked,
        }
        answers: list[dict[str, Any]] = await self._post(
            "/sync/v1/exchange", [hello, *messages], token=await self._token()
        )
        for answer in answers:
            self._heard(answer)
        return answers

    async def sync(self) -> None:
        """Exchange until nothing is left to send and no feed has more."""
        await self.exchange()
        for _ in range(100):
            if self.ended:
                return
            pushes = self._pushes()
            answers = await self.exchange(*pushes)
            more = any(answer.get("more") for answer in answers if answer["type"] == "feed")
            if not pushes and not more:
                return
        raise AssertionError("it never came to rest")

    async def check(self, partition: str, collections: list[str]) -> dict[str, list[int]]:
        """Compare with the cloud, whole collections first, then buckets; fetch and merge what
        differs. Returns the buckets that differed."""
        since = dict.fromkeys(collections, 0)
        sums = {name: self._sums(name, partition, 1) for name in collections}
        differ = await self._checked(partition, since, sums)
        sums = {name: self._sums(name, partition, 256) for name in differ}
        differ = await self._checked(partition, since, sums) if sums else {}
        for name, buckets in differ.items():
            after: list[Any] = [0, ""]
            while True:
                fetch = {"type": "fetch", "partition": partition, "collection": name}
                found = await self._one("found", fetch | {"buckets": buckets, "after": after})
                for row in rows_of(found.get("groups", [])):
                    self._merge(row)
                after = found["upto"]
                if not found.get("more"):
                    break
        return differ

    async def waits_for_news(self) -> bool:
        told = await self._post("/sync/v1/wait", self.cursors, token=await self._token())
        return bool(told["news"])

    def value(self, collection: str, id: str, field: str) -> Any:
        return self.rows[collection, id]["fields"][field][0]

    async def _checked(
        self, partition: str, since: dict[str, int], sums: dict[str, Any]
    ) -> dict[str, list[int]]:
        check = {"type": "check", "partition": partition, "sums": sums}
        answer = await self._one("checked", check | {"since": {name: since[name] for name in sums}})
        return dict(answer.get("differ", {}))

    async def _one(self, kind: str, message: dict[str, Any]) -> dict[str, Any]:
        answers = await self.exchange(message)
        return next(answer for answer in answers if answer["type"] == kind)

    def _sums(self, collection: str, partition: str, size: int) -> list[list[int]]:
        sums = [[0, 0] for _ in range(size)]
        for row in self.rows.values():
            fields = row["fields"]
            gone = fields.get("_deleted", [False])[0]
            if (row["collection"], row["partition"]) == (collection, partition) and not gone:
                at = zlib.crc32(row["id"].encode()) % size
                values = {name: value for name, (value, _) in fields.items()}
                stamps = {name: stamp for name, (_, stamp) in fields.items()}
                text = canonical([row["id"], values, stamps])
                digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
                sums[at][0] += 1
                sums[at][1] = (sums[at][1] + (int.from_bytes(digest, "big") >> 11)) % (1 << 53)
        return sums

    def _pushes(self) -> list[dict[str, Any]]:
        made = []
        for lane in LANES:
            log = {n: keys for n, keys in self.logs[lane].items() if n > self.acked[lane]}
            if log:
                groups = [self._group(*key) for keys in log.values() for key in keys]
                made.append(
                    {
                        "type": "push",
                        "lane": lane,
                        "after": self.acked[lane],
                        "upto": max(log),
                        "groups": groups,
                    }
                )
        return made

    def _group(self, collection: str, id: str) -> dict[str, Any]:
        """One row's fields that this node wrote, as a group of its own."""
        row = self.rows[collection, id]
        own = {n: field for n, field in row["fields"].items() if field[1][2] == self.node}
        greatest = max(stamp for _, stamp in own.values())
        return {
            "collection": collection,
            "fields": list(own),
            "ids": [id],
            "hlcs": [greatest[0]],
            "lanes": [greatest[1]],
            "nodes": [greatest[2]],
            "partitions": [row["partition"]],
            "columns": [[value] for value, _ in own.values()],
            "stamps": [[0, n, stamp] for n, (_, stamp) in own.items() if stamp != greatest],
        }

    def _heard(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "welcome":
                self._welcomed(message)
            case "ack":
                lane = message["lane"]
                self.acked[lane] = max(self.acked[lane], message["upto"])
                self.refused += message.get("refused", [])
            case "gap":
                self.acked[message["lane"]] = message["has"]
            case "ahead":
                self._come_down(message["clock_ms"])
            case "feed":
                for row in rows_of(message.get("groups", [])):
                    self._merge(row)
                self.cursors[message["partition"]] = message["upto"]
            case "bye":
                self.ended = message

    def _welcomed(self, message: dict[str, Any]) -> None:
        self.ticket, self.database = message["ticket"], message["cloud"]
        self.partitions = message.get("partitions", [])
        for partition in message.get("restart", {}):
            self.cursors[partition] = 0
        for lane, upto in message.get("acked", {}).items():
            self.acked[int(lane)] = max(self.acked[int(lane)], upto)
        if abs(message["clock_ms"] - self._now_ms()) > 60_000:
            self._come_down(message["clock_ms"])

    def _come_down(self, clock_ms: int) -> None:
        """Correct the clock, and bring unsent stamps that lie in the cloud's future down, in order."""
        self._offset_ms += clock_ms - self._now_ms()
        ceiling, taken = clock_ms << 11, (clock_ms + 60_000) << 11
        unsent = [
            field[1]
            for lane in LANES
            for n, keys in self.logs[lane].items()
            if n > self.acked[lane]
            for key in keys
            for field in self.rows[key]["fields"].values()
            if field[1][2] == self.node and field[1][0] > taken
        ]
        order = sorted({stamp[0] for stamp in unsent})
        stay = [
            stamp[0]
            for row in self.rows.values()
            for _, stamp in row["fields"].values()
            if stamp[2] == self.node and stamp[0] <= taken
        ]
        first = max([ceiling - len(order), *(hlc + 1 for hlc in stay)])
        laid = {hlc: first + at for at, hlc in enumerate(order)}
        for stamp in unsent:
            stamp[0] = laid.get(stamp[0], stamp[0])
        self._last_hlc = max([ceiling, *laid.values(), *stay])

    def _merge(self, row: Row) -> None:
        key = row["collection"], row["id"]
        known = self.rows.setdefault(key, {**row, "fields": {}})
        for name, (value, stamp) in row["fields"].items():
            old = known["fields"].get(name)
            if old is None or _weight(value, stamp) > _weight(*old):
                known["fields"][name] = [value, list(stamp)]

    def _now_ms(self) -> int:
        return int(time.time() * 1000) + self._skew_ms + self._offset_ms

    async def _token(self) -> str:
        challenge = await self._post("/auth/v1/nodes/challenge", {})
        at = int(time.time()) + self._skew_ms // 1000
        claims = {
            "iss": self.node,
            "sub": self.node,
            "aud": challenge["issuer"],
            "nonce": challenge["nonce"],
            "iat": at,
            "exp": at + 60,
            "jti": secrets.token_hex(8),
        }
        head = {"alg": "EdDSA", "typ": "node+jwt", "kid": self.node}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (head, claims))
        assertion = f"{signed}.{base64url(self._key.sign(signed.encode()))}"
        told = await self._post("/auth/v1/nodes/token", {"assertion": assertion})
        return str(told["access_token"])

    async def _post(self, path: str, body: Any, token: str = "") -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._session.post(self._cloud + path, json=body, headers=headers) as answer:
            content = await answer.json(content_type=None)
            assert answer.status < 300, (answer.status, content)
            return content


def _weight(value: Any, stamp: list[Any]) -> tuple[Any, ...]:
    return (*stamp, canonical(value).encode())


def rows_of(groups: list[dict[str, Any]]) -> list[Row]:
    """The rows of groups laid out in columns."""
    rows = []
    for group in groups:
        size, hlc = len(group["ids"]), 0

        def each(name: str, at: int, group: dict[str, Any] = group, size: int = size) -> Any:
            return group[name][at if len(group[name]) == size else 0]

        made: list[Row] = []
        for at, id in enumerate(group["ids"]):
            hlc += group["hlcs"][at]
            stamp = [hlc, each("lanes", at), each("nodes", at)]
            columns = zip(group["fields"], group["columns"], strict=True)
            fields = {name: [column[at], stamp] for name, column in columns}
            made.append(
                {
                    "collection": group["collection"],
                    "id": id,
                    "partition": each("partitions", at),
                    "fields": fields,
                }
            )
        for at, name, stamp in group.get("stamps", []):
            made[at]["fields"][name][1] = stamp
        rows += made
    return rows
