"""Real files through the real ffmpeg: what is measured, what is made of it, and what is refused."""

from __future__ import annotations

import array
import asyncio
import os
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.unit.player.sounds import FORMATS, TONE, ffmpeg_run
from tests.unit.player.sounds import sound as made_sound

from beira.apps.player.library import ffmpeg, sound, tags
from beira.sdk import BeiraError, Invalid, Misconfigured


def written(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
async def test_each_format_is_made_into_the_same_bytes_each_time_at_the_target(
    tmp_path: Path, suffix: str
) -> None:
    master = written(tmp_path, made_sound(suffix, gain_db=-12))
    of = await sound.measured(master)
    assert abs(of.duration_ms - 3_000) < 60
    assert len(of.waveform) == sound.PEAKS
    assert 0 < max(of.waveform) <= 100
    made = await sound.made(master, of, tmp_path, "opus-64", -16.0)
    first = made.path.read_bytes()
    again = await sound.made(master, of, tmp_path, "opus-64", -16.0)
    assert again.path.read_bytes() == first
    assert abs(made.measured.samples - of.samples) <= sound.FRAME
    assert made.measured.peak_dbtp <= sound.PEAK_DBTP
    assert abs(made.measured.loudness_lufs - -16.0) < 0.6
    assert b"Lavf" not in first[:4_096] + first[-4_096:]


async def test_what_has_high_peaks_gets_less_gain_and_is_never_clipped(tmp_path: Path) -> None:
    """A click at full scale over faint sound: the target alone would want some 30 dB more."""
    clicks = "aevalsrc=0.004*sin(2*PI*440*t)+0.98*eq(mod(floor(t*44100)\\,44100)\\,7):s=44100"
    master = written(tmp_path, made_sound("wav", source=clicks))
    of = await sound.measured(master)
    assert of.loudness_lufs < -30
    made = await sound.made(master, of, tmp_path, "opus-64", -16.0)
    assert made.gain_db < 3
    assert made.measured.peak_dbtp <= sound.PEAK_DBTP


async def test_loud_music_is_made_quieter(tmp_path: Path) -> None:
    master = written(tmp_path, made_sound("flac", gain_db=3))
    of = await sound.measured(master)
    made = await sound.made(master, of, tmp_path, "opus-64", -23.0)
    assert made.gain_db < 0
    assert abs(made.measured.loudness_lufs - -23.0) < 0.6


async def test_tags_and_cover(tmp_path: Path) -> None:
    for suffix in ("mp3", "flac", "m4a"):
        data = made_sound(
            suffix, cover=True, title="Águas de Março", artist="Elis", album="Elis & Tom"
        )
        told = await tags.read(written(tmp_path, data, f"x.{suffix}"))
        assert (told.title, told.artist, told.album) == ("Águas de Março", "Elis", "Elis & Tom")
        picture = await tags.cover(told)
        assert picture.startswith(b"\xff\xd8\xff")
        assert b"<script" not in picture
        assert picture == await tags.cover(told)
    plain = await tags.read(written(tmp_path, made_sound("ogg", title="a\nb\x07c"), "x.ogg"))
    assert (plain.title, plain.cover) == ("a b c", "")
    assert await tags.read(written(tmp_path, b"nothing at all")) == tags.Tags()


def hostile() -> dict[str, bytes]:
    """Name of the harm, and the file."""
    mp3, flac = made_sound("mp3"), made_sound("flac", seconds=10)
    playlist = b"ffconcat version 1.0\nfile /etc/passwd\n"
    hls = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    return {
        "nothing": b"",
        "text": b"<script>alert(1)</script>" * 100,
        "concat": playlist,
        "hls": hls,
        "hls that reads files": hls.replace(b"http://127.0.0.1:9/a.ts", b"file:///etc/passwd"),
        "zip bomb": zlib.compress(bytes(10_000_000)),
        "half a flac": flac[: len(flac) // 2],
        "holes": flac[:2_000] + bytes(20_000) + flac[22_000:],
        "jumbled mp3": mp3[:100] + os.urandom(8_000),
        "silence": made_sound("wav", source="anullsrc=r=44100:cl=mono"),
        "a blink": made_sound("wav", seconds=0.01),
        "a picture": b"\x89PNG\r\n\x1a\n" + os.urandom(1_000),
    }


@pytest.mark.parametrize("harm", list(hostile()))
async def test_what_is_no_sound_is_refused_with_its_reason(tmp_path: Path, harm: str) -> None:
    path = written(tmp_path, hostile()[harm])
    told = await tags.read(path)
    with pytest.raises(Invalid) as refused:
        await sound.measured(path, told_s=told.length_s)
    expected = {"silence": "player.silent", "a blink": "player.too_short"}
    codes = ("player.undecodable", "player.cut_short")
    assert refused.value.code in (expected.get(harm, ""), *codes)
    assert str(tmp_path) not in refused.value.message


async def test_a_sound_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "LONGEST_S", 2)
    with pytest.raises(Invalid) as refused:
        await sound.measured(written(tmp_path, made_sound("flac", source="sine", seconds=10)))
    assert refused.value.code == "player.too_long"


async def test_a_file_that_is_also_a_page_comes_out_as_sound_alone(tmp_path: Path) -> None:
    """A polyglot: sound with a script in its tags and behind its end."""
    script = b"<html><script>alert(document.cookie)</script></html>"
    data = made_sound("mp3", title="<script>alert(1)</script>") + script
    path = written(tmp_path, data)
    of = await sound.measured(path)
    made = await sound.made(path, of, tmp_path, "opus-64", -16.0)
    assert b"script" not in made.path.read_bytes()


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("while True: pass", {"cpu_s": 1}),
        ("import time; time.sleep(60)", {"wall_s": 0.5}),
        ("import sys\nwhile True: sys.stdout.write('x' * 100000)", {"most_bytes": 1_000_000}),
    ],
)
async def test_a_child_gets_so_much_and_no_more(code: str, more: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        await ffmpeg.run("-c", code, program=sys.executable, **more)
    assert refused.value.code == "player.too_much"


async def test_a_child_gets_no_memory_without_end_and_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran = await ffmpeg.run("-c", "x = bytearray(4 << 30)", program=sys.executable)
    assert ran.code != 0
    monkeypatch.setenv("BEIRA_SECRET_KEY", "secret")
    heard = bytearray()
    code = "import os; print(dict(os.environ))"
    await ffmpeg.run("-c", code, program=sys.executable, heard=heard.extend)
    assert b"secret" not in heard


async def test_a_cancelled_child_is_gone(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    task = asyncio.create_task(ffmpeg.run("-c", code, program=sys.executable))
    while not (mark.exists() and mark.read_text()):
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not Path(f"/proc/{mark.read_text()}").exists()


async def test_without_ffmpeg_the_operator_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(Misconfigured) as missing:
        ffmpeg.found()
    assert missing.value.code == "player.ffmpeg"
    assert "beira[player]" in missing.value.hint


async def test_he_aac_needs_an_encoder_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    master = written(tmp_path, made_sound("wav"))
    of = await sound.measured(master)
    with pytest.raises(BeiraError) as missing:
        await sound.made(master, of, tmp_path, "he-aac-v2", -16.0)
    assert missing.value.code == "player.fdkaac"


@pytest.mark.skipif(
    shutil.which("fdkaac") is None, reason="fdkaac is not installed (apt install fdkaac, non-free)"
)
async def test_he_aac_is_the_same_each_time_and_begins_and_ends_where_the_master_does(
    tmp_path: Path,
) -> None:
    ffmpeg_run("-f", "lavfi", "-t", "3", "-i", TONE, str(tmp_path / "master.wav"))
    of, files = await sound.measured(tmp_path / "master.wav"), []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = await sound.made(tmp_path / "master.wav", of, tmp_path / name, "he-aac-v2", -16.0)
        files.append(made.path.read_bytes())
        await asyncio.sleep(1.1)  # its clock has seconds
    assert files[0] == files[1]
    assert made.measured.samples == of.samples
    assert abs(made.measured.loudness_lufs - -16.0) < 1
    assert len(files[0]) * 8 / 3 < 48_000
    heard = tmp_path / "heard"
    ffmpeg_run("-i", str(made.path), "-f", "s16le", "-ac", "1", "-ar", "48000", str(heard))
    samples = array.array("h", heard.read_bytes())
    loud = [at for at, sample in enumerate(samples) if abs(sample) > 300]
    assert loud[0] < 100 and loud[-1] > len(samples) - 100


async def test_two_tracks_join_without_a_gap(tmp_path: Path) -> None:
    """A tone cut in two: what shops get of both halves has, one after the other, as many samples as the
    whole, so nothing is heard between them."""
    ffmpeg_run("-f", "lavfi", "-t", "4", "-i", TONE, str(tmp_path / "whole.wav"))
    halves = []
    for n, start in enumerate((0, 2)):
        path = tmp_path / f"half{n}.wav"
        ffmpeg_run("-ss", str(start), "-t", "2", "-i", str(tmp_path / "whole.wav"), str(path))
        of = await sound.measured(path)
        made = await sound.made(path, of, tmp_path, "opus-64", -16.0)
        halves.append(made.measured.samples)
    assert sum(halves) == 4 * sound.RATE
