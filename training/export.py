"""Write the trained network as ONNX with its description: `python -m training.export`."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", type=Path, default=WORK / "net.pt")
    parser.add_argument("--out", type=Path, default=MODEL)
    args = parser.parse_args()
    checkpoint = torch.load(args.net)
    net = Net(len(PHONES))
    net.load_state_dict(checkpoint["net"])
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
        phone_errors=round(checkpoint["errors"], 4), epochs=checkpoint["epoch"],
        head={"weight": net.out.weight[:, :, 0].T.tolist(), "bias": net.out.bias.tolist()},
    )  # fmt: skip
    described.write_text(json.dumps(meta, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
