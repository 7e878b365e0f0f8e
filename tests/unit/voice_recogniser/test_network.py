"""The network computed here is the network in the file: what onnxruntime computes, this does."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.unit.voice_recogniser.conftest import MODEL

from beira.apps.voice.recogniser.network import Network
from beira.sdk import Corrupt

SHIPPED = MODEL / "acoustic.onnx"
FLOAT = TensorProto.FLOAT


def peer(content: bytes | Path, features: np.ndarray) -> list[np.ndarray]:
    given = content.read_bytes() if isinstance(content, Path) else content
    session = onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"])
    return [found[0].T for found in session.run(None, {"features": features.T[None]})]


@pytest.mark.parametrize("frames", [1, 15, 100, 517])
def test_the_shipped_model_is_computed_as_onnxruntime_does(frames: int) -> None:
    features = np.random.default_rng(frames).normal(0, 1.5, (frames, 40)).astype(np.float32)
    found = Network(SHIPPED.read_bytes()).run(features)
    hidden, logits = peer(SHIPPED, features)
    np.testing.assert_allclose(found["hidden"], hidden, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-4)


def made(taps: int, dilation: int, stride: int, pad: int, seed: int = 0) -> bytes:
    """A small network: a convolution, Relu, and its sum with itself."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1, (3, 2, taps)).astype(np.float32)
    bias = rng.normal(0, 1, 3).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["features", "w", "b"], ["c"], dilations=[dilation],
                             kernel_shape=[taps], pads=[pad, pad], strides=[stride]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("Add", ["c", "r"], ["sum"]),
        ],
        "small",
        [helper.make_tensor_value_info("features", FLOAT, [1, 2, "frames"])],
        [helper.make_tensor_value_info("sum", FLOAT, [1, 3, "steps"])],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


@given(taps=st.integers(1, 5), dilation=st.integers(1, 3), stride=st.integers(1, 3),
       pad=st.integers(0, 4), more=st.integers(0, 20))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_any_convolution_is_computed_as_onnxruntime_does(
    taps: int, dilation: int, stride: int, pad: int, more: int
) -> None:
    content = made(taps, dilation, stride, pad, seed=taps)
    frames = max(1, dilation * (taps - 1) + 1 - 2 * pad) + more
    features = np.random.default_rng(more).normal(0, 1, (frames, 2)).astype(np.float32)
    (wanted,) = peer(content, features)
    found = Network(content).run(features)["sum"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_node_that_is_not_known_is_refused() -> None:
    model = onnx.load_from_string(made(1, 1, 1, 0))
    model.graph.node[1].op_type = "Sigmoid"
    with pytest.raises(Corrupt, match="Sigmoid"):
        Network(model.SerializeToString())


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_refused_or_computes(data: st.DataObject) -> None:
    """Whatever the bytes are, nothing but Corrupt comes of reading them."""
    content = bytearray(made(3, 1, 1, 1))
    cut = data.draw(st.integers(0, len(content)))
    at, bits = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
    content[at] ^= bits
    with contextlib.suppress(Corrupt):
        Network(bytes(content[:cut]))
