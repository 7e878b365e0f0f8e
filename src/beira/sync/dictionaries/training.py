"""Trains a dictionary in a process of its own, which gives way to all others and ends in time.

    python -m beira.sync.dictionaries.training < request > trial

The parent hands over messages and gets a dictionary with what it makes of those it was not trained
on. The child reads no file, opens no socket and knows of no tenant.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import zstandard

from beira.kernel import limits
from beira.kernel.errors import BeiraError, Unavailable

LEVEL = 19
NICENESS = 19


class Request(msgspec.Struct):
    """What to train on, what to judge by, what is in use, what is appended to the new one (that which
    comes with Beira), and its number."""

    training: list[bytes]
    held_out: list[bytes]
    in_use: bytes
    base: bytes
    number: int
    size_bytes: int


class Trial(msgspec.Struct):
    """What came of it: the dictionary (empty: none could be made), and the held-out messages' size
    with the one in use and with it."""

    dictionary: bytes = b""
    in_use_bytes: int = 0
    new_bytes: int = 0


async def trial(request: Request) -> Trial:
    """Train and judge. Raises Unavailable when it takes too long or fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(limits.DICTIONARY_TRAINING_S):
            answer, _ = await process.communicate(msgspec.msgpack.encode(request))
        return msgspec.msgpack.decode(answer, type=Trial)
    except TimeoutError:
        raise _failed(f"it took more than {limits.DICTIONARY_TRAINING_S} s") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise _failed(str(error)) from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def judged(request: Request) -> Trial:
    """The work itself."""
    samples: list[bytes | bytearray | memoryview] = [*request.training]
    try:
        made = zstandard.train_dictionary(
            request.size_bytes, samples, dict_id=request.number, level=LEVEL
        ).as_bytes()
    except zstandard.ZstdError:
        return Trial()
    return Trial(
        dictionary=made,
        in_use_bytes=_size(request.held_out, request.in_use),
        new_bytes=_size(request.held_out, made + request.base),
    )


def _size(messages: Sequence[bytes], dictionary: bytes) -> int:
    data = zstandard.ZstdCompressionDict(dictionary)
    compressor = zstandard.ZstdCompressor(level=LEVEL, dict_data=data)
    return sum(len(compressor.compress(message)) for message in messages)


def _failed(why: str) -> BeiraError:
    return Unavailable(
        f"No dictionary was trained: {why}.",
        code="dictionary.untrained",
        hint="The one in use stays; it is tried again in a day.",
    )


def main() -> None:
    os.nice(NICENESS)
    resource.setrlimit(
        resource.RLIMIT_AS, (limits.DICTIONARY_MEMORY_BYTES, limits.DICTIONARY_MEMORY_BYTES)
    )
    resource.setrlimit(
        resource.RLIMIT_CPU, (limits.DICTIONARY_TRAINING_S, limits.DICTIONARY_TRAINING_S)
    )
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.msgpack.encode(judged(request)))


if __name__ == "__main__":
    main()
