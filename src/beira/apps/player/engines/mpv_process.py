"""One mpv: started as a process of its own, and talked to over its JSON IPC.

The conversation goes over a socket pair that mpv inherits: no file that others could open, and an mpv
whose node was killed sees its end closed and quits, so that no shop hears two players at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from beira.sdk import Unavailable

log = structlog.get_logger(__name__)
ANSWER_S = 3.0
"""mpv answers in milliseconds; one that takes longer hangs."""
START_S = 15.0
LINE_BYTES = 1_048_576
METER = "@meter:lavfi=[astats=metadata=1:reset=1:measure_perchannel=none:measure_overall=RMS_level]"
LEVEL = "lavfi.astats.Overall.RMS_level"
OPTIONS = (
    "--idle=yes", "--no-video", "--audio-display=no", "--no-config", "--no-ytdl", "--no-terminal",
    "--load-scripts=no", "--load-unsafe-playlists=no", "--access-references=no", "--demuxer=lavf",
    "--demuxer-lavf-o=protocol_whitelist=file",
    "--gapless-audio=yes", "--prefetch-playlist=yes", "--hr-seek=yes", "--volume-max=100",
    "--audio-client-name=Lomuz", f"--af={METER}",
)  # fmt: skip
DEVICES = ("alsa", "pulse", "pipewire", "jack", "oss", "sndio", "auto")


_ANSWERS = ("success", "property unavailable")
_NOT_NOW = "error accessing property"
"""Said of what is asked for between two files, while the meter is made anew: no fault of mpv's."""


def program() -> str:
    """Where mpv is. Raises Unavailable `player.mpv_missing`."""
    found = shutil.which("mpv")
    if found is None:
        raise Unavailable(
            "mpv, which makes the sound, is not installed.",
            code="player.mpv_missing",
            hint="sudo apt install mpv (Debian, Ubuntu, Raspberry Pi OS); it is found by itself.",
        )
    return found


def output_options(output: str) -> list[str]:
    """mpv's options for an output of the settings: a device, `null`, or nothing. Raises Unavailable
    `player.no_output` for what is no device."""
    if not output:
        return []
    if output == "null":
        return ["--ao=null"]
    if output.split("/", 1)[0] not in DEVICES:
        raise Unavailable(
            f"{output!r} is no sound device.",
            code="player.no_output",
            hint="mpv --audio-device=help lists those there are, such as alsa/default.",
        )
    return [f"--audio-device={output}"]


class MpvProcess:
    """A running mpv. `on_event` gets each of its events, as mpv says them."""

    def __init__(self, on_event: Callable[[dict[str, Any]], None]) -> None:
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._asked: dict[int, tuple[asyncio.Future[Any], Callable[[Any], None] | None]] = {}
        self._questions: set[int] = set()
        self._number = 0

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self, options: Sequence[str]) -> None:
        """Raises Unavailable `player.mpv_missing`, `player.mpv_failed`."""
        mine, its = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                program(), *OPTIONS, *options, f"--input-ipc-client=fd://{its.fileno()}",
                pass_fds=(its.fileno(),), start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            mine.close()
            raise _failed(f"mpv does not start: {error.strerror}.") from None
        finally:
            its.close()
        reader, self._writer = await asyncio.open_connection(sock=mine, limit=LINE_BYTES)
        self._reading = asyncio.create_task(self._read(reader))
        await self.ask("get_property", "mpv-version", within_s=START_S)

    async def ask(
        self, *command: Any, then: Callable[[Any], None] | None = None, within_s: float = ANSWER_S
    ) -> Any:
        """What mpv answers; `then` is called with it before any event that comes after it.

        Raises: Unavailable `player.mpv_failed` if it says no, or nothing.
        """
        self._number += 1
        number = self._number
        answer = asyncio.get_running_loop().create_future()
        self._asked[number] = answer, then
        if command[0] == "get_property":
            self._questions.add(number)
        self._say({"command": command, "request_id": number})
        try:
            async with asyncio.timeout(within_s):
                return await answer
        except TimeoutError:
            raise _failed("mpv does not answer.") from None
        finally:
            self._asked.pop(number, None)
            self._questions.discard(number)

    async def ended(self) -> None:
        """Wait until it is gone."""
        assert self._reading is not None
        await asyncio.wait([self._reading])

    async def kill(self) -> None:
        """End it, at once; it is no error if it has ended."""
        if self._writer is not None:
            self._writer.close()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    def _say(self, message: dict[str, Any]) -> None:
        if self._writer is None or self._writer.is_closing():
            raise _failed("mpv is gone.")
        self._writer.write(msgspec.json.encode(message) + b"\n")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                with contextlib.suppress(msgspec.MsgspecError, UnicodeError):
                    self._heard(msgspec.json.decode(line.decode(errors="replace")))
        except (OSError, ValueError) as error:
            log.warning("player.mpv_lost", why=str(error))
        finally:
            for answer, _ in self._asked.values():
                if not answer.done():
                    answer.set_exception(_failed("mpv is gone."))
                    answer.exception()  # nobody may be waiting any more

    def _heard(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._on_event(message)
            return
        number, said = message.get("request_id", 0), message.get("error")
        answer, then = self._asked.get(number, (None, None))
        if answer is None or answer.done():
            return
        if said in _ANSWERS or (said == _NOT_NOW and number in self._questions):
            if then is not None:
                then(message.get("data"))
            answer.set_result(message.get("data"))
        else:
            answer.set_exception(_failed(f"mpv said: {said}."))


def _failed(message: str) -> Unavailable:
    return Unavailable(message, code="player.mpv_failed", hint="It is started again by itself.")
