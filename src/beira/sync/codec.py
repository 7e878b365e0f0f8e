"""Messages as bytes: MessagePack under zstd between ours, plain JSON for everyone else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, get_args

import msgspec
import zstandard

from beira.kernel import limits
from beira.kernel.errors import Corrupt, Invalid, TooLarge
from beira.kernel.wire import Wire

LEVEL = 1
"""On columns the first level is as small as the third (8 % of the JSON) and a third faster."""


class Codec(Protocol):
    """One way to write messages. `name` is its WebSocket subprotocol, `media_type` its HTTP one."""

    name: str
    media_type: str
    binary: bool

    def encode(self, messages: Sequence[Wire]) -> bytes: ...

    def decode(self, data: bytes) -> list[Wire]:
        """Raises TooLarge, Corrupt, Invalid (not a message that is known)."""
        ...


@dataclass
class PackedCodec:
    """MessagePack, compressed."""

    name: str = "beira.packed"
    media_type: str = "application/vnd.beira.packed"
    binary: bool = True

    def __post_init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(list[Wire])
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._decompressor = zstandard.ZstdDecompressor()

    def encode(self, messages: Sequence[Wire]) -> bytes:
        return self._compressor.compress(self._encoder.encode(messages))

    def decode(self, data: bytes) -> list[Wire]:
        try:
            size_bytes = zstandard.frame_content_size(data)
            if not 0 <= size_bytes <= limits.MESSAGE_BYTES:
                raise TooLarge(f"A message is {size_bytes} bytes; {limits.MESSAGE_BYTES} at most.")
            plain = self._decompressor.decompress(data, max_output_size=limits.MESSAGE_BYTES)
        except zstandard.ZstdError as error:
            raise Corrupt(f"A message could not be decompressed: {error}.") from None
        return decoded(self._decoder, plain)


@dataclass
class JsonCodec:
    """Plain JSON, so that curl can take part."""

    name: str = "beira.json"
    media_type: str = "application/json"
    binary: bool = False

    def __post_init__(self) -> None:
        self._decoder = msgspec.json.Decoder(list[Wire])

    def encode(self, messages: Sequence[Wire]) -> bytes:
        return msgspec.json.encode(messages)

    def decode(self, data: bytes) -> list[Wire]:
        if len(data) > limits.MESSAGE_BYTES:
            raise TooLarge(f"A message is {len(data)} bytes; {limits.MESSAGE_BYTES} at most.")
        return decoded(self._decoder, data)


PACKED = PackedCodec()
"""The one of the program: what a compressor holds is more than all else of a connection."""
CODECS: tuple[Codec, ...] = (PACKED, JsonCodec())


def codec_of(name: str | None) -> Codec:
    """The codec of a subprotocol or media type. Raises Invalid with the names there are."""
    for codec in CODECS:
        if name in (codec.name, codec.media_type):
            return codec
    names = ", ".join(codec.media_type for codec in CODECS)
    raise Invalid(f"{name!r} is no form of sync messages.", code="sync.codec", hint=f"Use {names}.")


T = TypeVar("T")


class _Typed(msgspec.Struct):
    type: str


def decoded(
    decoder: msgspec.msgpack.Decoder[list[T]] | msgspec.json.Decoder[list[T]], data: bytes
) -> list[T]:
    """A list of messages; those of types that only newer releases know are left out (law 8).
    Raises Invalid, Corrupt."""
    try:
        try:
            return decoder.decode(data)
        except msgspec.ValidationError:
            return decoder.decode(_of_known_types(decoder, data))
    except msgspec.ValidationError as error:
        raise Invalid(f"Not a message that is known: {error}.", code="sync.message") from None
    except msgspec.DecodeError as error:
        raise Corrupt(f"Not a message: {error}.", code="sync.message") from None


def _of_known_types(
    decoder: msgspec.msgpack.Decoder[list[T]] | msgspec.json.Decoder[list[T]], data: bytes
) -> bytes:
    """The same list without what it cannot read."""
    form: Any = msgspec.json if isinstance(decoder, msgspec.json.Decoder) else msgspec.msgpack
    (kinds,) = get_args(decoder.type)
    known = {kind.__struct_config__.tag for kind in get_args(kinds)}
    parts = form.decode(data, type=list[msgspec.Raw])
    kept = [part for part in parts if form.decode(part, type=_Typed).type in known]
    return bytes(form.encode(kept))
