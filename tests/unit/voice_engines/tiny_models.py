"""Models made here, of a few kilobytes: they say nonsense, and prove the path to the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def tiny_gguf(path: Path) -> Path:
    """A llama of random numbers with a tokenizer of single characters."""
    import gguf

    rng = np.random.default_rng(5)
    width, heads, inner = 64, 4, 128
    letters = "".join(chr(c) for c in range(97, 123)) + " .,?!áéíóúãõâêôç"
    tokens = ["<unk>", "<s>", "</s>", *[f"<0x{b:02X}>" for b in range(256)], *letters, "▁"]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(letters) + 1)]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(name, rng.normal(0, 0.5, shape).astype(np.float32))

    matrix("token_embd.weight", len(tokens), width)
    matrix("output.weight", len(tokens), width)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        matrix(f"blk.0.{name}.weight", width, width)
    matrix("blk.0.ffn_gate.weight", inner, width)
    matrix("blk.0.ffn_up.weight", inner, width)
    matrix("blk.0.ffn_down.weight", width, inner)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny_piper(path: Path) -> Path:
    """A Piper voice that speaks a tone, a hundredth of a second per phoneme."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Shape", ["input"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["count"], axis=0),
        helper.make_node("Mul", ["count", "hop"], ["samples"]),
        helper.make_node("Range", ["zero", "samples", "one"], ["steps"]),
        helper.make_node("Cast", ["steps"], ["time"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["time", "speed"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["wave"]),
        helper.make_node("Mul", ["wave", "half"], ["soft"]),
        helper.make_node("Unsqueeze", ["soft", "axes"], ["output"]),
    ]

    def whole(name: str, value: int) -> onnx.TensorProto:
        return helper.make_tensor(name, TensorProto.INT64, [], [value])

    def real(name: str, value: float) -> onnx.TensorProto:
        return helper.make_tensor(name, TensorProto.FLOAT, [], [value])

    graph = helper.make_graph(
        nodes,
        "tone",
        [
            helper.make_tensor_value_info("input", TensorProto.INT64, [1, "n"]),
            helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, "t"])],
        [whole("zero", 0), whole("one", 1), whole("hop", 220), real("speed", 0.2),
         real("half", 0.5), helper.make_tensor("axes", TensorProto.INT64, [2], [0, 1])],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path
    )
    letters = "abcdefghijklmnopqrstuvwxyzɐɾʊɪãẽĩõũ ,.ˈː"
    config = {
        "audio": {"sample_rate": 22050, "quality": "low"},
        "espeak": {"voice": "pt-br"},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "num_symbols": 100,
        "num_speakers": 1,
        "speaker_id_map": {},
        "phoneme_id_map": {"_": [0], "^": [1], "$": [2]}
        | {letter: [at + 3] for at, letter in enumerate(letters)},
        "language": {"code": "pt_BR"},
    }
    Path(f"{path}.json").write_text(json.dumps(config))
    return path


def tiny_whisper(folder: Path) -> Path:
    """A CTranslate2 whisper of random numbers, one layer deep."""
    from ctranslate2.specs import WhisperSpec
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    special = ["<|endoftext|>", "<|startoftranscript|>"]
    special += [f"<|{code}|>" for code in _LANGUAGE_CODES]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>",
                "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip
    special += [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    tokenizer.add_special_tokens([AddedToken(s, special=True) for s in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]

    width, mels, rng = 64, 80, np.random.default_rng(3)
    spec = WhisperSpec(1, 2, 1, 2)
    _fill(spec, len(vocabulary), width, mels, rng)
    spec.register_vocabulary(vocabulary)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = [vocabulary.index(f"<|{code}|>") for code in _LANGUAGE_CODES]
    spec.config.alignment_heads = [(0, 0)]
    spec.validate()
    spec.optimize(quantization=None)
    spec.save(str(folder))
    return folder


def _fill(spec: object, words: int, width: int, mels: int, rng: np.random.Generator) -> None:
    shapes = {
        "encoder/conv1/weight": (width, mels, 3),
        "encoder/conv2/weight": (width, width, 3),
        "encoder/position_encodings/encodings": (1500, width),
        "decoder/position_encodings/encodings": (448, width),
        "decoder/embeddings/weight": (words, width),
        "decoder/projection/weight": (words, width),
    }

    def visit(part: object, path: str) -> None:
        for name, value in list(vars(part).items()):
            place = f"{path}/{name}".strip("/")
            if name.startswith("_") or place == "config":
                continue
            if isinstance(value, list):
                for at, item in enumerate(value):
                    visit(item, f"{place}_{at}")
            elif hasattr(value, "__dict__") and not isinstance(value, np.ndarray):
                visit(value, place)
            elif value is None or place in shapes:
                shape = shapes.get(place) or _shape(place, width)
                if shape is not None:
                    numbers = np.ones(shape) if "gamma" in name else rng.normal(0, 0.3, shape)
                    setattr(part, name, numbers.astype(np.float32))

    visit(spec, "")


def _shape(place: str, width: int) -> tuple[int, ...] | None:
    if place.endswith(("gamma", "beta")):
        return (width,)
    if place.endswith("_scale") or "weight_zero" in place:
        return None
    many = 1
    if "self_attention/linear_0" in place:
        many = 3
    elif "attention/linear_1" in place and "/attention/" in place:
        many = 2
    if "ffn/linear_0" in place:
        return (width * 4, width) if place.endswith("weight") else (width * 4,)
    if "ffn/linear_1" in place:
        return (width, width * 4) if place.endswith("weight") else (width,)
    return (width * many, width) if place.endswith("weight") else (width * many,)
