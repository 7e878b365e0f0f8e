"""Phoenix channel messages as Supabase's realtime clients write them: pure, text or bytes in and out.

Version 1.0.0 is a JSON object, 2.0.0 a JSON list, and in 2.0.0 a broadcast travels in a frame of
bytes: a kind, the lengths of its parts, then the parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from beira.api.asked import decoded
from beira.kernel.errors import Invalid

V1, V2 = "1.0.0", "2.0.0"
_PUSH, _BROADCAST, _JSON = 3, 4, 1
_PUSH_PARTS, _PART_BYTES = 5, 255


@dataclass(frozen=True)
class Message:
    """One message of a channel. `join_ref` ties it to a join, `ref` a reply to its question."""

    topic: str
    event: str
    payload: Any
    ref: str | None = None
    join_ref: str | None = None


def decode(raw: str | bytes) -> Message:
    """Read a client's message of either version. Raises Invalid `message.invalid`."""
    if isinstance(raw, bytes):
        return _decode_push(raw)
    value = decoded(raw.encode("utf-8", "replace"))
    if isinstance(value, list) and len(value) == 5:
        join_ref, ref, topic, event, payload = value
    elif isinstance(value, dict):
        join_ref, ref = value.get("join_ref"), value.get("ref")
        topic, event, payload = value.get("topic"), value.get("event"), value.get("payload")
    else:
        raise _invalid()
    if not isinstance(topic, str) or not isinstance(event, str):
        raise _invalid()
    return Message(topic, event, payload, _ref(ref), _ref(join_ref))


def encode(message: Message, version: str) -> str | bytes:
    """Write a message for a client of `version`."""
    if version == V1:
        value: Any = {
            "topic": message.topic,
            "event": message.event,
            "payload": message.payload,
            "ref": message.ref,
        }
        if message.join_ref is not None:
            value["join_ref"] = message.join_ref
    elif message.event == "broadcast" and message.ref is None:
        return _encode_broadcast(message)
    else:
        value = [message.join_ref, message.ref, message.topic, message.event, message.payload]
    return msgspec.json.encode(value).decode()


def _decode_push(raw: bytes) -> Message:
    if len(raw) < 2 + _PUSH_PARTS or raw[0] != _PUSH:
        raise _invalid()
    sizes, encoding = raw[1 : 1 + _PUSH_PARTS], raw[1 + _PUSH_PARTS]
    parts, at = [], 2 + _PUSH_PARTS
    for size in sizes:
        parts.append(raw[at : at + size])
        at += size
    if at > len(raw) or encoding != _JSON:
        raise _invalid("Broadcasts of bytes are not covered: send JSON.")
    try:
        join_ref, ref, topic, event, _ = (part.decode() for part in parts)
    except UnicodeDecodeError:
        raise _invalid() from None
    payload = {"type": "broadcast", "event": event, "payload": decoded(raw[at:])}
    return Message(topic, "broadcast", payload, ref or None, join_ref or None)


def _encode_broadcast(message: Message) -> bytes:
    topic = message.topic.encode()
    event = str(message.payload["event"]).encode()
    if len(topic) > _PART_BYTES or len(event) > _PART_BYTES:
        raise _invalid("The name of a broadcast is too long.")
    header = bytes((_BROADCAST, len(topic), len(event), 0, _JSON))
    return header + topic + event + msgspec.json.encode(message.payload.get("payload"))


def _ref(value: object) -> str | None:
    return None if value is None else str(value)[:64]


def _invalid(why: str = "That is no message of a channel.") -> Invalid:
    return Invalid(
        why,
        code="message.invalid",
        hint="Speak Phoenix channels, vsn 1.0.0 or 2.0.0, as Supabase's clients do.",
    )
