"""A shop's sound, by a real mpv into an output that nobody hears, or into a file that is looked at.

Nothing is timed by the wall: positions move, events come, and what was heard is counted in samples.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import io
import itertools
import math
import os
import random
import shutil
import signal
import wave
from pathlib import Path

import pytest

from beira.apps.player.engines import mpv as mpv_module
from beira.apps.player.engines import mpv_process
from beira.apps.player.engines.fading import Fading
from beira.apps.player.engines.mpv import Deck
from beira.apps.player.engines.port import Cue, Ended, Event, Restarted, Silenced, Started
from beira.apps.player.playing import Announcement
from beira.host.wall import SystemWall
from tests.acceptance.support import PATIENCE_S, until
from tests.unit.player.shop import Shop, music, shop

RATE = 48_000
pytestmark = [
    pytest.mark.skipif(
        shutil.which("mpv") is None, reason="mpv is not installed (apt install mpv)"
    ),
    pytest.mark.timeout(180),
]


def tone(ms: int, hz: float = 440.0, *, loud: float = 0.3) -> bytes:
    """A WAV file of a sine."""
    count = RATE * ms // 1000
    turn = 2 * math.pi * hz / RATE
    samples = array.array("h", (round(32_000 * loud * math.sin(turn * n)) for n in range(count)))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def silent() -> Fading:
    """mpv that plays at its pace, into nothing."""
    return Fading(["--ao=null"])


class Running:
    """An engine that runs, and what it told."""

    def __init__(self, engine: Deck | Fading) -> None:
        self.engine = engine
        self.told: list[Event] = []

    async def __aenter__(self) -> Running:
        self._tasks = [asyncio.create_task(self.engine.run()), asyncio.create_task(self._hear())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hear(self) -> None:
        while True:
            self.told.append(await self.engine.event())

    def has(self, kind: type, id: str = "") -> bool:
        return any(isinstance(e, kind) and id in (getattr(e, "id", ""), "") for e in self.told)


def cue(folder: Path, name: str, wav: bytes) -> Cue:
    path = folder / f"{name}.wav"
    path.write_bytes(wav)
    with wave.open(io.BytesIO(wav)) as opened:
        ms = round(opened.getnframes() * 1000 / opened.getframerate())
    return Cue(name, str(path), ms, fades=True)


async def test_an_mpv_that_is_killed_or_hangs_is_replaced_and_the_track_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mpv_process, "ANSWER_S", 0.5)
    deck = Deck(["--ao=null"])
    async with Running(deck) as running:
        deck.play(cue(tmp_path, "long", tone(60_000)))
        for deadly in (signal.SIGKILL, signal.SIGSTOP):
            await until(lambda: deck.position_ms > 500 and deck.pid)
            at_ms, pid = deck.position_ms, deck.pid
            os.kill(pid, deadly)
            await until(lambda: running.has(Restarted))
            assert deck.pid != pid and deck.position_ms >= at_ms - 300
            await until(lambda at_ms=at_ms: deck.position_ms > at_ms + 300)
            running.told.clear()


async def test_a_mute_device_and_a_silent_file_are_noticed(tmp_path: Path) -> None:
    deck = Deck(["--ao=null"])
    deck.expect(silence_s=1.0, crossfade_ms=0, output="")
    async with Running(deck) as running:
        deck.play(cue(tmp_path, "hush", tone(60_000, loud=0.0)))
        await until(lambda: running.has(Ended, "hush"))
        assert running.has(Silenced)
        (ended,) = [e for e in running.told if isinstance(e, Ended)]
        assert ended.failed, "after a fresh mpv was no louder, it is the file"
        deck.play(cue(tmp_path, "loud", tone(20_000)))
        await until(lambda: any(isinstance(e, Silenced) and e.over for e in running.told))
        pid = deck.pid
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: deck.pid not in (0, pid))
        os.kill(deck.pid, 0)


async def test_tracks_join_to_the_sample(tmp_path: Path) -> None:
    """Into a file: as many samples as both have, and no gap between them."""
    heard = tmp_path / "heard.raw"
    raw = ("--ao-pcm-waveheader=no", "--audio-format=s16", "--audio-channels=mono")
    deck = Deck(["--ao=pcm", f"--ao-pcm-file={heard}", *raw])
    one, two = cue(tmp_path, "one", tone(2_000)), cue(tmp_path, "two", tone(2_000))
    async with Running(deck) as running:
        deck.pause(True)
        deck.play(one)
        deck.follow(two)
        await asyncio.sleep(0.3)
        deck.pause(False)
        await until(lambda: running.has(Ended, "two"))
        assert running.has(Ended, "one")
    samples = array.array("h", heard.read_bytes())
    assert abs(len(samples) - 4 * RATE) <= RATE // 1_000
    longest = run = 0
    for sample in samples[RATE // 10 : -RATE // 10]:
        run = run + 1 if abs(sample) < 30 else 0
        longest = max(longest, run)
    assert longest < RATE // 200, f"{longest} samples of silence where tracks join"


@pytest.mark.parametrize("crossfade_ms", [0, 200])
async def test_what_follows_may_change_at_every_joint(tmp_path: Path, crossfade_ms: int) -> None:
    """Short tracks, and what comes next is changed again and again, also while one goes over into the
    next: whoever goes by the events always knows what is heard, and it never stops."""
    engine, seed = silent(), random.randrange(2**32)
    chance, heard, sounds = random.Random(seed), 0, tone(700)
    engine.expect(silence_s=8, crossfade_ms=crossfade_ms, output="")
    cues = (cue(tmp_path, f"{seed}-{n}", sounds) for n in itertools.count())
    running = asyncio.create_task(engine.run())
    current, lined = next(cues), next(cues)
    engine.play(current)
    engine.follow(lined)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while heard < 15:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(chance.choice((0.001, 0.05, 1.0))):
                        event = await engine.event()
                        if isinstance(event, Ended) and event.id == current.id:
                            heard += 1
                            if event.then == lined.id:
                                current = lined
                            else:
                                current = next(cues)
                                engine.play(current)
                lined = next(cues)
                engine.follow(lined)
    except TimeoutError:
        raise AssertionError(f"{heard} heard, then nothing more; seed {seed}") from None
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_crossfade_overlaps_on_a_second_deck(tmp_path: Path) -> None:
    engine = silent()
    engine.expect(silence_s=8, crossfade_ms=1_000, output="")
    async with Running(engine) as running:
        engine.volume(80)
        engine.play(cue(tmp_path, "one", tone(6_000)))
        engine.follow(cue(tmp_path, "two", tone(6_000)))
        await until(lambda: running.has(Ended, "one"))
        first = engine.other
        await until(lambda: running.has(Started, "two"))
        await until(lambda: engine._fading_from is None)
        assert engine.deck is not first and engine.deck._volume == 80
        os.kill(engine.deck.pid, signal.SIGKILL)
        await until(lambda: running.has(Restarted))
        engine.follow(cue(tmp_path, "three", tone(6_000)))
        await until(lambda: running.has(Started, "three"))


async def test_what_is_no_sound_fails_and_harms_nothing(tmp_path: Path) -> None:
    deck = Deck(["--ao=null"])
    (tmp_path / "list.wav").write_text("#EXTM3U\n/etc/passwd\n")
    async with Running(deck) as running:
        deck.play(Cue("list", str(tmp_path / "list.wav"), 5_000))
        await until(lambda: running.has(Ended, "list"))
        deck.play(Cue("gone", str(tmp_path / "gone.wav"), 5_000))
        await until(lambda: running.has(Ended, "gone"))
        assert all(e.failed for e in running.told if isinstance(e, Ended))
        deck.play(cue(tmp_path, "good", tone(3_000)))
        await until(lambda: running.has(Started, "good"))


async def test_without_mpv_the_player_says_so_and_finds_it_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mpv_module, "RETRY_MOST_S", 0.2)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))
    deck = Deck(["--ao=null"])
    async with Running(deck) as running:
        deck.play(cue(tmp_path, "one", tone(5_000)))
        await until(lambda: deck.trouble is not None)
        assert deck.trouble is not None and deck.trouble.code == "player.mpv_missing"
        assert "apt install mpv" in deck.trouble.hint
        monkeypatch.setenv("PATH", path)
        await until(lambda: running.has(Started, "one"))
        assert deck.trouble is None


async def test_a_machine_without_a_sound_device_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mpv_module, "RETRY_MOST_S", 0.2)
    deck = Deck()
    deck.expect(silence_s=8, crossfade_ms=0, output="alsa/none-such")
    pids: set[int] = set()

    def died_often() -> bool:
        pids.add(deck.pid)
        return len(pids) > mpv_module.DEATHS_MOST + 3

    async with Running(deck) as running:
        deck.play(cue(tmp_path, "one", tone(5_000)))
        deck.follow(cue(tmp_path, "two", tone(5_000)))
        await until(died_often)
        assert deck.trouble is not None and deck.trouble.code == "player.no_output"
        deck.expect(silence_s=8, crossfade_ms=0, output="null")
        await until(lambda: running.has(Started, "one"))
        assert not running.has(Ended), "the track is not blamed"


async def begun_shop(here: Shop, *assets: object) -> None:
    await here.programme(*music(*assets))  # type: ignore[arg-type]
    await here.player.playing.skip()


async def test_a_shop_plays_on_over_rot_announcements_and_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEIRA_PLAYER_OUTPUT", "null")
    engine = silent()
    async with shop(tmp_path, clock=SystemWall(), engine=engine) as here:
        a = await here.sound("a", tone(30_000))
        b = await here.sound("b", tone(30_000, 330))
        c = await here.sound("c", tone(30_000, 550))
        await begun_shop(here, a, b, c)
        await until(lambda: here.title == "a" and engine.position_ms > 300)
        fire = await here.sound("fire", tone(700, 880))
        at_ms = engine.position_ms
        await here.player.playing.announce(Announcement("x1", "Fogo", fire.file, 700))
        await until(lambda: here.title == "Fogo")
        await until(lambda: here.title == "a" and engine.position_ms >= at_ms - 300)

        os.kill(engine.deck.pid, signal.SIGKILL)
        await until(lambda: engine.deck.pid and engine.position_ms > at_ms)

        rotten = here.blobs._shelf.folder.path("padaria", b.file)
        rotten.write_bytes(os.urandom(40_000))
        await here.player.playing.skip()
        await until(lambda: here.title == "c" and engine.position_ms > 300)
        assert not here.blobs.holds(b.file)

        playing = here.blobs._shelf.folder.path("padaria", c.file)
        playing.write_bytes(b"\0" * 20_000)
        await until(lambda: here.title == "a")
        outcomes = {p.title: p.outcome for p in await here.plays() if p.title != "Vinheta"}
        assert outcomes["Fogo"] == "whole" and outcomes["a"] == "skipped"
        assert outcomes["b"] == "failed" and "c" in outcomes
