"""Recordings: what can be read, what is refused with which code, and rates that change truly."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beira.apps.voice.engines.ports import HEARD_HZ
from beira.apps.voice.engines.sound import (
    UTTERANCE_S,
    Resampler,
    complaint,
    read_wav,
    resampled,
    write_wav,
)
from beira.sdk import BeiraError


def tone(hz: float, rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    return (10_000 * np.sin(2 * np.pi * hz * np.arange(int(rate_hz * seconds)) / rate_hz)).astype(
        np.int16
    )


def a_wav(samples: bytes, rate_hz: int = HEARD_HZ, channels: int = 1, width: int = 2) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(samples)
    return out.getvalue()


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_pitch_and_level_at_another_rate(rate_hz: int) -> None:
    heard = resampled(tone(1_000, rate_hz), rate_hz, HEARD_HZ)
    wanted = tone(1_000, HEARD_HZ)[: len(heard)]
    assert abs(len(heard) - HEARD_HZ / 2) <= 1
    inner = slice(400, len(heard) - 400)
    assert np.abs(heard[inner].astype(int) - wanted[inner]).max() < 300


def test_what_is_too_high_for_the_new_rate_is_taken_out_rather_than_folded_back() -> None:
    heard = resampled(tone(12_000, 48_000), 48_000, HEARD_HZ)
    assert np.abs(heard[400:-400].astype(int)).max() < 200


@settings(max_examples=40, deadline=None)
@given(
    rate_hz=st.sampled_from([8_000, 22_050, 44_100, 48_000]),
    cuts=st.lists(st.integers(1, 3_000), min_size=1, max_size=12),
)
def test_a_stream_in_any_pieces_gives_the_same_sound(rate_hz: int, cuts: list[int]) -> None:
    whole = np.random.default_rng(1).integers(-9_000, 9_000, sum(cuts)).astype(np.int16)
    pieces = np.split(whole, np.cumsum(cuts)[:-1])
    streamed = Resampler(rate_hz, HEARD_HZ)
    made = np.concatenate([streamed.feed(piece) for piece in pieces])
    assert np.array_equal(made, Resampler(rate_hz, HEARD_HZ).feed(whole))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "audio.empty"),
        (b"RIFF....WAVE", "audio.not_wav"),
        (b"\x89PNG\r\n\x1a\n" + bytes(5_000), "audio.not_wav"),
        (b"ID3" + bytes(100), "audio.not_wav"),
        (a_wav(b""), "audio.empty"),
        (a_wav(bytes(2_000), rate_hz=1_000), "audio.rate"),
        (a_wav(bytes(HEARD_HZ * 2 * (UTTERANCE_S + 1))), "audio.too_long"),
        (bytes(9_000_000), "audio.too_long"),
    ],
)
def test_what_cannot_be_heard_is_refused_with_its_reason(data: bytes, code: str) -> None:
    with pytest.raises(BeiraError) as refused:
        read_wav(data)
    assert refused.value.code == code
    assert refused.value.hint


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_whatever_break_the_reader(noise: bytes) -> None:
    head = a_wav(bytes(200))
    for data in (noise, head[:44] + noise, head[:20] + noise):
        try:
            assert read_wav(data).dtype == np.int16
        except BeiraError as error:
            assert error.code.startswith("audio.")


def test_other_widths_and_stereo_are_heard_as_mono() -> None:
    samples = tone(440, HEARD_HZ)
    stereo = np.stack([samples, samples], axis=1).tobytes()
    wide = (samples.astype("<i4") << 16).tobytes()
    assert np.array_equal(read_wav(a_wav(stereo, channels=2)), samples)
    assert np.array_equal(read_wav(a_wav(wide, width=4)), samples)
    assert np.abs(read_wav(a_wav(((samples >> 8) + 128).astype(np.uint8).tobytes(), width=1))
                  - samples.astype(int)).max() < 256  # fmt: skip


def test_a_file_written_is_read_back() -> None:
    samples = tone(300, HEARD_HZ)
    assert np.array_equal(read_wav(write_wav(samples.tobytes(), HEARD_HZ)), samples)


def test_complaints() -> None:
    loud = np.where(np.arange(8_000) % 40 < 20, 32_767, -32_768).astype(np.int16)
    assert complaint(np.zeros(0, np.int16)) == "audio.empty"
    assert complaint(np.zeros(8_000, np.int16)) == "audio.silent"
    assert complaint(loud) == "audio.clipped"
    assert complaint(tone(200, HEARD_HZ)) == ""
