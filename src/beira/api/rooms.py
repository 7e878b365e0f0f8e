"""What subscribers of a topic tell each other: broadcasts, and who is present.

A room is a topic of one tenant, in this process: nothing is stored, and it does not reach the
other replicas of a cloud.
"""

from __future__ import annotations

import secrets
from typing import Any, Protocol

import msgspec

from beira.api.phoenix import Message
from beira.kernel import limits
from beira.kernel.errors import TooLarge

Room = tuple[str, str]
Metas = dict[str, Any]


class Member(Protocol):
    """A channel that joined a topic."""

    topic: str
    tenant: str
    hears_itself: bool
    presence_key: str

    def push(self, message: Message) -> None:
        """Send without waiting; a member too slow to be told is told to start over."""
        ...


class Rooms:
    """All rooms with somebody in them."""

    def __init__(self) -> None:
        self._members: dict[Room, list[Member]] = {}
        self._present: dict[Room, dict[int, tuple[str, Metas]]] = {}

    def enter(self, member: Member) -> None:
        self._members.setdefault(_room(member), []).append(member)

    def leave(self, member: Member) -> None:
        """Also ends the member's presence."""
        self.untrack(member)
        room = _room(member)
        members = self._members.get(room, [])
        if member in members:
            members.remove(member)
        if not members:
            self._members.pop(room, None)
            self._present.pop(room, None)

    def broadcast(self, sender: Member, payload: dict[str, Any]) -> None:
        for member in list(self._members.get(_room(sender), [])):
            if member is not sender or sender.hears_itself:
                member.push(Message(member.topic, "broadcast", payload))

    def send(self, tenant: str, topic: str, payload: dict[str, Any]) -> None:
        """A broadcast that came by HTTP."""
        for member in list(self._members.get((tenant, topic), [])):
            member.push(Message(topic, "broadcast", payload))

    def state(self, member: Member) -> dict[str, Any]:
        """Who is present: for each key the metas of all that track under it."""
        grouped: dict[str, Any] = {}
        for key, meta in self._present.get(_room(member), {}).values():
            grouped.setdefault(key, {"metas": []})["metas"].append(meta)
        return grouped

    def track(self, member: Member, meta: Metas) -> None:
        """Be present with `meta`, in place of what was told before. Raises TooLarge."""
        if len(msgspec.json.encode(meta)) > limits.PRESENCE_BYTES:
            raise TooLarge(f"Presence carries {limits.PRESENCE_BYTES} bytes at most.")
        present = self._present.setdefault(_room(member), {})
        before = present.get(id(member))
        meta = {**meta, "phx_ref": secrets.token_urlsafe(9)}
        present[id(member)] = (member.presence_key, meta)
        self._differ(member, joins=(member.presence_key, meta), leaves=before)

    def untrack(self, member: Member) -> None:
        before = self._present.get(_room(member), {}).pop(id(member), None)
        if before is not None:
            self._differ(member, joins=None, leaves=before)

    def _differ(
        self, member: Member, *, joins: tuple[str, Metas] | None, leaves: tuple[str, Metas] | None
    ) -> None:
        payload = {
            "joins": {joins[0]: {"metas": [joins[1]]}} if joins else {},
            "leaves": {leaves[0]: {"metas": [leaves[1]]}} if leaves else {},
        }
        for other in list(self._members.get(_room(member), [])):
            other.push(Message(other.topic, "presence_diff", payload))


def _room(member: Member) -> Room:
    return member.tenant, member.topic
