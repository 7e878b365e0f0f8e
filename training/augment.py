"""Rooms, microphones and noise, made from seeds: no recording is used."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
RATE_HZ = 16_000


def resample(pcm: npt.NDArray[np.int16], rate_hz: int) -> Floats:
    """Any rate to 16 kHz floats at full scale 1, by cutting the spectrum."""
    if rate_hz == RATE_HZ or not len(pcm):
        return (pcm / 32768.0).astype(np.float32)
    step = 441 if rate_hz == 22_050 else rate_hz // 50
    size = -(-len(pcm) // step) * step
    spectrum = np.fft.rfft(np.pad(pcm, (0, size - len(pcm))) / 32768.0)
    out = size // step * (320 if rate_hz == 22_050 else RATE_HZ // 50)
    full = np.zeros(out // 2 + 1, complex)
    keep = min(len(full), len(spectrum))
    full[:keep] = spectrum[:keep]
    samples = np.fft.irfft(full, out) * (out / size)
    return samples[: int(len(pcm) * RATE_HZ / rate_hz)].astype(np.float32)


def shaped_noise(rng: np.random.Generator, count: int, slope_db: float) -> Floats:
    """Noise whose level changes by `slope_db` an octave (0 white, -3 pink, -6 brown)."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    gain = (np.maximum(hz, 50.0) / 1000.0) ** (slope_db / 6.02)
    noise = np.fft.irfft(spectrum * gain, count)
    return (noise / (np.sqrt(np.mean(noise**2)) + 1e-9)).astype(np.float32)


def hum(rng: np.random.Generator, count: int) -> Floats:
    """A fridge or a fan: harmonics of the mains, slowly swelling, on brown noise."""
    t = np.arange(count) / RATE_HZ
    base = rng.choice([50.0, 60.0, 120.0]) * rng.uniform(0.98, 1.02)
    tones = sum(
        rng.uniform(0.1, 1.0) / k * np.sin(2 * np.pi * base * k * t + rng.uniform(0, 6.3))
        for k in range(1, 12)
    )
    sound = tones * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.1, 2) * t))
    sound = sound + shaped_noise(rng, count, -5.0) * rng.uniform(0.1, 0.6)
    return (sound / (np.sqrt(np.mean(sound**2)) + 1e-9)).astype(np.float32)


def clatter(rng: np.random.Generator, count: int) -> Floats:
    """A till and trolleys: short ringing knocks over quiet noise."""
    sound = shaped_noise(rng, count, -3.0) * 0.25
    for _ in range(max(2, int(count / RATE_HZ * rng.uniform(1.5, 5)))):
        size = int(rng.uniform(0.02, 0.15) * RATE_HZ)
        at = int(rng.integers(0, max(1, count - size)))
        t = np.arange(min(size, count - at)) / RATE_HZ
        ring = np.sin(2 * np.pi * rng.uniform(400, 4500) * t) + 0.5 * rng.standard_normal(len(t))
        sound[at : at + len(t)] += (ring * np.exp(-t * rng.uniform(30, 150))).astype(np.float32) * 3
    return (sound / (np.sqrt(np.mean(sound**2)) + 1e-9)).astype(np.float32)


def babble(rng: np.random.Generator, count: int, speech: list[Floats]) -> Floats:
    """Three to eight people talking at once, out of `speech`."""
    sound = np.zeros(count, np.float32)
    for _ in range(int(rng.integers(3, 9))):
        voice = speech[int(rng.integers(len(speech)))]
        looped = np.resize(voice, count + len(voice))
        start = int(rng.integers(len(voice)))
        sound += looped[start : start + count] * rng.uniform(0.4, 1.0)
    return (sound / (np.sqrt(np.mean(sound**2)) + 1e-9)).astype(np.float32)


def room(rng: np.random.Generator, samples: Floats, t60_s: float) -> Floats:
    """The samples as heard in a room that takes `t60_s` to fall silent."""
    size = int(min(t60_s, 0.6) * RATE_HZ)
    t = np.arange(size) / RATE_HZ
    impulse = rng.standard_normal(size) * np.exp(-6.9 * t / t60_s)
    impulse[: int(0.002 * RATE_HZ)] = 0
    impulse *= rng.uniform(0.15, 0.7) / (np.sqrt(np.sum(impulse**2)) + 1e-9)
    impulse[0] = 1.0
    length = 1 << int(len(samples) + size - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, length) * np.fft.rfft(impulse, length), length)
    return wet[: len(samples)].astype(np.float32)


def microphone(rng: np.random.Generator, samples: Floats) -> Floats:
    """A random smooth response between 60 Hz and 8 kHz, sometimes a telephone's."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    knots = np.array([0, 150, 400, 1000, 2500, 5000, 8000])
    gain_db = np.interp(hz, knots, rng.normal(0, 4.0, len(knots)))
    gain_db += rng.uniform(-3, 3) * np.log2(np.maximum(hz, 60) / 1000)
    gain = 10 ** (gain_db / 20)
    if rng.random() < 0.1:
        gain *= 1 / (1 + (hz / rng.uniform(3200, 5000)) ** 8)
    return np.fft.irfft(spectrum * gain, len(samples)).astype(np.float32)


def add_noise(speech: Floats, noise: Floats, snr_db: float) -> Floats:
    """Mix so that speech, where it is loud, is `snr_db` over the noise (both by power)."""
    power = float(np.mean(speech[np.abs(speech) > 0.02 * np.abs(speech).max()] ** 2) + 1e-12)
    scale = np.sqrt(power / 10 ** (snr_db / 10) / (float(np.mean(noise**2)) + 1e-12))
    return (speech + noise * scale).astype(np.float32)


def at_level(samples: Floats, peak_db: float) -> Floats:
    """Scaled so that the peak is `peak_db` under full scale; over it, clipped."""
    scaled = samples * (10 ** (peak_db / 20) / (float(np.abs(samples).max()) + 1e-9))
    return np.clip(scaled, -1.0, 1.0).astype(np.float32)
