"""The acoustic network computed with numpy, from the ONNX file it is exchanged as.

An inference library would take 45 MB of a small node's memory for what is two dozen products of
matrices: about a millisecond for each stretch of audio. The file stays plain ONNX, so that any tool
can look into it, and the tests hold this to what onnxruntime computes from it. Only what such a file
needs is read: nodes Conv (of one dimension, one group), Relu and Add over float32.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from beira.sdk import Corrupt

Floats = npt.NDArray[np.float32]
Value: TypeAlias = "int | bytes"
# Field numbers of ONNX's messages that are read here.
_GRAPH, _NODE, _INITIALISER, _OUTPUT, _INPUT = 7, 1, 5, 12, 11
_FLOAT32 = 1
_LONGEST_VARINT = 10


@dataclass(frozen=True, slots=True)
class _Step:
    """One node. Conv: weight (taps * inputs, outputs), bias (outputs)."""

    does: str
    takes: tuple[str, ...]
    gives: str
    weight: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    bias: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    taps: int = 1
    dilation: int = 1
    pad: tuple[int, int] = (0, 0)
    stride: int = 1


class Network:
    """One input, and outputs by name; values are (time, channels)."""

    def __init__(self, content: bytes) -> None:
        """Raises Corrupt for a file that is not such a network."""
        _one_thread()
        try:
            graph = _messages(content)[_GRAPH][0]
            parts = _messages(_as_bytes(graph))
            tensors = dict(_tensor(_as_bytes(one)) for one in parts[_INITIALISER])
            self._steps = [_step(_as_bytes(one), tensors) for one in parts[_NODE]]
            (self._input,) = (_name(_as_bytes(one)) for one in parts[_INPUT])
            self._outputs = tuple(_name(_as_bytes(one)) for one in parts[_OUTPUT])
            self._last_use = self._uses()
        except (LookupError, ValueError, TypeError) as error:
            raise Corrupt(
                f"The speech model cannot be computed: {error!r}", code="voice.bad_model",
                hint="Install the voice app again.",
            ) from error  # fmt: skip

    def run(self, features: Floats) -> dict[str, Floats]:
        """The outputs for `features` (time, channels)."""
        values = {self._input: features}
        for at, step in enumerate(self._steps):
            values[step.gives] = _computed(step, [values[name] for name in step.takes])
            for name in step.takes:
                if self._last_use[name] == at:
                    del values[name]
        return values

    def _uses(self) -> dict[str, int]:
        """The last step that takes each value; none for outputs, which are kept."""
        known, last = {self._input}, dict.fromkeys(self._outputs, len(self._steps))
        for at, step in enumerate(self._steps):
            if not known.issuperset(step.takes):
                raise ValueError(f"{step.gives} is computed from nothing")
            known.add(step.gives)
            for name in step.takes:
                last[name] = max(at, last.get(name, at))
        if not known.issuperset(self._outputs):
            raise ValueError("an output is never computed")
        return last


def _one_thread() -> None:
    """Keep the OpenBLAS of numpy's wheels to one thread. For matrices as small as these its threads
    wait for each other by spinning: on a busy machine with two cores that takes ten times as long."""
    for library in (Path(np.__file__).parents[1] / "numpy.libs").glob("libscipy_openblas64_*"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(str(library)).scipy_openblas_set_num_threads64_(1)


def _computed(step: _Step, given: list[Floats]) -> Floats:
    if step.does == "Add":
        return given[0] + given[1]
    if step.does == "Relu":
        return np.maximum(given[0], np.float32(0))
    found = _unrolled(step, given[0]) @ step.weight
    found += step.bias
    return np.asarray(found, np.float32)


def _unrolled(step: _Step, given: Floats) -> Floats:
    """For each time of the result, the inputs that its taps see, side by side."""
    if step.taps == 1 and step.stride == 1 and step.pad == (0, 0):
        return given
    padded = np.pad(given, (step.pad, (0, 0)))
    count = max(0, (len(padded) - step.dilation * (step.taps - 1) - 1) // step.stride + 1)
    reach = (count - 1) * step.stride + 1
    begins = range(0, step.taps * step.dilation, step.dilation)
    return np.concatenate([padded[at : at + max(0, reach) : step.stride] for at in begins], axis=1)


def _step(content: bytes, tensors: Mapping[str, Floats]) -> _Step:
    parts = _messages(content)
    takes = tuple(_text(one) for one in parts[1])
    (gives,) = (_text(one) for one in parts[2])
    does = _text(parts[4][0])
    if does in ("Relu", "Add"):
        return _Step(does, takes, gives)
    if does != "Conv":
        raise ValueError(f"{does} is not known here")
    asked = dict(_attribute(_as_bytes(one)) for one in parts.get(5, []))
    if asked.get("group", [1]) != [1]:
        raise ValueError("a convolution in groups is not known here")
    weight = tensors[takes[1]]
    outputs, inputs, taps = weight.shape
    before, after = asked.get("pads", [0, 0])
    (dilation,), (stride,) = asked.get("dilations", [1]), asked.get("strides", [1])
    unrolled = np.ascontiguousarray(weight.transpose(2, 1, 0)).reshape(taps * inputs, outputs)
    bias = tensors[takes[2]].copy()
    return _Step(does, takes[:1], gives, unrolled, bias, taps, dilation, (before, after), stride)


def _attribute(content: bytes) -> tuple[str, list[int]]:
    parts = _messages(content)
    return _text(parts[1][0]), _numbers(parts.get(3, []) + parts.get(8, []))


def _tensor(content: bytes) -> tuple[str, Floats]:
    parts = _messages(content)
    if _numbers(parts[2]) != [_FLOAT32]:
        raise ValueError("a weight is not float32")
    weight = np.frombuffer(_as_bytes(parts[9][0]), "<f4").reshape(_numbers(parts.get(1, [])))
    return _text(parts[8][0]), weight.astype(np.float32, copy=False)


def _name(content: bytes) -> str:
    return _text(_messages(content)[1][0])


def _messages(content: bytes) -> dict[int, list[Value]]:
    """A protobuf message's fields by number, each as often as it is there."""
    found: dict[int, list[Value]] = {}
    for number, value in _fields(content):
        found.setdefault(number, []).append(value)
    return found


def _fields(content: bytes) -> Iterator[tuple[int, Value]]:
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            number_given, at = _varint(content, at)
            yield number, number_given
            continue
        if kind == 2:
            size, at = _varint(content, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"no wire type {kind}")
        if at + size > len(content):
            raise ValueError("the file is cut short")
        yield number, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_VARINT):
        value |= (content[at + place] & 0x7F) << (7 * place)
        if content[at + place] < 0x80:
            return value, at + place + 1
    raise ValueError("a number is too long")


def _numbers(values: list[Value]) -> list[int]:
    """Integers, given one by one or packed."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            found.append(number)
    return found


def _as_bytes(value: Value) -> bytes:
    if isinstance(value, int):
        raise ValueError("a message was expected, not a number")
    return value


def _text(value: Value) -> str:
    return _as_bytes(value).decode()
