"""Features do not depend on how audio is cut, nor on how loud it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beira.apps.voice.recogniser.features import (
    Normaliser,
    features_of,
    mel_energy,
    mel_matrix,
    to_float,
)


def tone(seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    t = np.arange(int(16_000 * seconds)) / 16_000
    sound = np.sin(2 * np.pi * 440 * t) * (np.sin(2 * np.pi * 3 * t) > 0)
    return (sound * level).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_law_cutting_changes_nothing(cuts: list[int]) -> None:
    energy = mel_energy(tone())
    normaliser, parts, at = Normaliser(), [], 0
    for cut in cuts:
        parts.append(normaliser.push(energy[at : at + cut]))
        at += cut
    parts += [normaliser.push(energy[at:]), normaliser.tail()]
    assert np.allclose(np.concatenate(parts), features_of(tone()), atol=1e-5)


@pytest.mark.parametrize("gain", [0.1, 0.5, 2.5])
def test_level_does_not_matter(gain: float) -> None:
    assert np.allclose(features_of(tone()), features_of(tone() * gain), atol=1e-3)


def test_digital_silence_is_finite_and_flat() -> None:
    features = features_of(to_float(np.zeros(16_000, np.int16)))
    assert np.isfinite(features).all()
    assert features.max() - features.min() < 0.5


def test_a_warp_moves_energy_to_lower_bands() -> None:
    def centre(warp: float) -> float:
        energy = mel_energy(tone(), mel_matrix(warp)).mean(axis=0)
        return float((energy * np.arange(len(energy))).sum() / energy.sum())

    assert centre(1.15) < centre(1.0) < centre(0.87)


def test_too_little_audio_has_no_frames() -> None:
    assert len(features_of(np.zeros(100, np.float32))) == 0
