"""Log-mel features that can be computed as the audio arrives.

Two things make them hold on voices and rooms never heard: each frame is scaled by the loudest
sound of the last second (so level does not matter), and each band has a floor below that (so what
lies under it, silence of a synthesiser or hum of a fridge, looks the same).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
WINDOW, HOP, FFT, BANDS = 400, 160, 512, 40
LOOKAHEAD_FRAMES = 16
FLOOR = 10.0**-3.6
_DECAY = np.log(10.0) * 0.12 / 10  # 12 dB a second, per frame of 10 ms
_QUIETEST_LOG = np.log(2e-6)
_PREEMPHASIS = 0.97

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]


def mel_matrix(warp: float = 1.0, low_hz: float = 80.0, high_hz: float = 7_200.0) -> Floats:
    """Triangular mel filters (257, BANDS); `warp` shifts the bands as a longer throat would."""

    def mel(hz: float) -> float:
        return float(2595.0 * np.log10(1.0 + hz / 700.0))

    points = np.linspace(mel(low_hz), mel(high_hz), BANDS + 2)
    edges = np.minimum(700.0 * (10.0 ** (points / 2595.0) - 1.0) * warp, 7_950.0)
    bins = np.arange(FFT // 2 + 1)[:, None] * (SAMPLE_RATE_HZ / FFT)
    rise = (bins - edges[None, :-2]) / np.maximum(edges[1:-1] - edges[:-2], 1.0)
    fall = (edges[None, 2:] - bins) / np.maximum(edges[2:] - edges[1:-1], 1.0)
    filters = np.maximum(0.0, np.minimum(rise, fall))
    return np.asarray(filters / np.maximum(filters.sum(axis=0), 1e-6), np.float32)


_WINDOW = np.hanning(WINDOW + 2)[1:-1].astype(np.float32)
_MEL = mel_matrix()


def mel_energy(samples: Floats, mel: Floats | None = None) -> Floats:
    """Energy per band (frames, BANDS) of whole windows in `samples` (float, full scale 1)."""
    count = 1 + (len(samples) - WINDOW) // HOP if len(samples) >= WINDOW else 0
    if count == 0:
        return np.zeros((0, BANDS), np.float32)
    emphasised = np.empty_like(samples)
    emphasised[0] = samples[0] * (1 - _PREEMPHASIS)
    emphasised[1:] = samples[1:] - _PREEMPHASIS * samples[:-1]
    frames = np.lib.stride_tricks.as_strided(
        emphasised, (count, WINDOW), (emphasised.strides[0] * HOP, emphasised.strides[0])
    )
    spectrum = np.fft.rfft(frames * _WINDOW, FFT)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) / WINDOW
    return np.asarray(power @ (_MEL if mel is None else mel), np.float32)


class Normaliser:
    """Scales energies by the decaying peak of loudness and takes logs, frame by frame.

    A frame's scale looks LOOKAHEAD_FRAMES ahead, so that a soft onset is not blown up. `push`
    returns the frames now final; `tail` returns the rest as they would be if speech ended here.
    """

    def __init__(self) -> None:
        self._peak = -np.inf
        self._next = 0
        self._waiting = np.zeros((0, BANDS), np.float32)
        self._peaks = np.zeros(0)

    def push(self, energy: Floats) -> Floats:
        """Take energies (frames, BANDS); give the features that no later sound can change."""
        if len(energy):
            level = np.maximum(np.log(energy.mean(axis=1) + 1e-12), _QUIETEST_LOG)
            rising = level + _DECAY * (self._next + len(self._peaks) + np.arange(len(level)))
            peaks = np.maximum.accumulate(np.maximum(rising, self._peak))
            self._peak = float(peaks[-1])
            self._peaks = np.concatenate([self._peaks, peaks])
            self._waiting = np.concatenate([self._waiting, energy])
        ready = max(0, len(self._waiting) - LOOKAHEAD_FRAMES)
        features = self._scaled(ready)
        self._waiting, self._peaks = self._waiting[ready:], self._peaks[ready:]
        self._next += ready
        return features

    def tail(self) -> Floats:
        """Features of the frames still waiting; the state does not change."""
        return self._scaled(len(self._waiting))

    def _scaled(self, count: int) -> Floats:
        if count == 0:
            return np.zeros((0, BANDS), np.float32)
        ahead = np.minimum(np.arange(count) + LOOKAHEAD_FRAMES, len(self._peaks) - 1)
        scale = np.maximum(
            self._peaks[ahead] - _DECAY * (self._next + np.arange(count)), _QUIETEST_LOG
        )
        relative = self._waiting[:count] * np.exp(-scale)[:, None].astype(np.float32)
        return np.asarray(np.log10(relative + FLOOR) + 1.6, np.float32)


SILENCE_VALUE = float(np.log10(FLOOR) + 1.6)


def features_of(samples: Floats, mel: Floats | None = None) -> Floats:
    """Features (frames, BANDS) of a whole recording; equal to what streaming gives."""
    normaliser = Normaliser()
    return np.concatenate([normaliser.push(mel_energy(samples, mel)), normaliser.tail()])


def to_float(pcm: Pcm) -> Floats:
    """int16 to float at full scale 1, with half a step of fixed dither against digital silence."""
    dither = np.tile(_DITHER, len(pcm) // len(_DITHER) + 1)[: len(pcm)]
    return ((pcm.astype(np.float32) + dither) / 32768.0).astype(np.float32)


_DITHER = np.random.default_rng(7).uniform(-0.7, 0.7, 16_001).astype(np.float32)
