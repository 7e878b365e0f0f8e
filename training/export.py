"""Write the trained network as ONNX with its description: `python -m training.export`."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from beira.apps.voice.recogniser.phones import PHONES
from beira.apps.voice.recogniser.pronounce import ask_espeak
from training import domain, text
from training.make_data import WORK
from training.net import Net

MODEL = Path(__file__).parent.parent / "src/beira/apps/voice/model"


def lexicon() -> dict[str, str]:
    """Pronunciations shipped with the model: the domain's words and common ones."""
    from beira.apps.voice.recogniser.grammar import compile_grammar

    grammar = compile_grammar(domain.SENTENCES, domain.lists([], []), domain.RULES)
    words = sorted(grammar.words | set(text.WORDS))
    return {word: " ".join(PHONES[p] for p in said) for word, said in ask_espeak(words).items()}


def mean_weights(paths: list[Path]) -> dict[str, torch.Tensor]:
    """The mean of checkpoints of one run: it does better on voices never heard than its parts."""
    nets = [torch.load(path)["net"] for path in paths]
    return {
        name: torch.stack([net[name] for net in nets]).mean(0)
        if value.is_floating_point()
        else value
        for name, value in nets[-1].items()
    }


def rounded(values: torch.Tensor) -> list[Any]:
    """As plain numbers, no longer than they need be."""
    numbers: list[Any] = torch.round(values.double(), decimals=6).tolist()
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--net", type=Path, nargs="+", default=[WORK / "net.pt"], help="several are averaged"
    )
    parser.add_argument("--out", type=Path, default=MODEL)
    args = parser.parse_args()
    net = Net(len(PHONES))
    net.load_state_dict(mean_weights(args.net))
    net.eval()
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / "acoustic.onnx"
    torch.onnx.export(
        net, (torch.zeros(1, 40, 120),), str(target), dynamo=False, opset_version=17,
        input_names=["features"], output_names=["hidden", "logits"],
        dynamic_axes={"features": {2: "frames"}, "hidden": {2: "steps"}, "logits": {2: "steps"}},
    )  # fmt: skip
    described = args.out / "model.json"
    meta = json.loads(described.read_text()) if described.exists() else {}
    meta.update(
        phones=PHONES, sha256=hashlib.sha256(target.read_bytes()).hexdigest(), lexicon=lexicon(),
        head={"weight": rounded(net.out.weight[:, :, 0].T), "bias": rounded(net.out.bias)},
    )  # fmt: skip
    described.write_text(json.dumps(meta, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
