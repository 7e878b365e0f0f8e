"""Train the acoustic model: `python -m training.train [--epochs 10]`, under an hour on two cores."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from beira.apps.voice.recogniser.features import SILENCE_VALUE
from beira.apps.voice.recogniser.phones import PHONES
from training.make_data import WORK
from training.net import STRIDE, Net

HELD_BACK = 400
BATCH_FRAMES = 14_000


class Data:
    """The training set in memory, in batches of like length."""

    def __init__(self, folder: Path) -> None:
        self.features = np.load(folder / "features.npy")
        self.labels = np.load(folder / "labels.npy")
        self.lengths = np.load(folder / "lengths.npy")
        self.label_lengths = np.load(folder / "label_lengths.npy")
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self.label_starts = np.concatenate([[0], np.cumsum(self.label_lengths)])
        fits = self.lengths // STRIDE > self.label_lengths * 1.15
        self.usable = np.flatnonzero(fits)

    def batches(self, chosen: npt.NDArray[np.int64], rng: np.random.Generator) -> list[list[int]]:
        """Shuffled batches, each of about BATCH_FRAMES frames."""
        noisy = self.lengths[chosen] * rng.uniform(0.9, 1.1, len(chosen))
        found: list[list[int]] = []
        batch: list[int] = []
        longest = 0
        for index in chosen[np.argsort(noisy)]:
            longest = max(longest, int(self.lengths[index]))
            if batch and longest * (len(batch) + 1) > BATCH_FRAMES:
                found.append(batch)
                batch, longest = [], int(self.lengths[index])
            batch.append(int(index))
        found.append(batch)
        rng.shuffle(found)
        return found

    def tensors(
        self, batch: list[int], rng: np.random.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features (batch, bands, frames), steps, labels end to end, label lengths."""
        longest = int(self.lengths[batch].max()) + 6
        x = np.full((len(batch), longest, self.features.shape[1]), SILENCE_VALUE, np.float32)
        labels = []
        for row, index in enumerate(batch):
            one = self.features[self.starts[index] : self.starts[index + 1]].astype(np.float32)
            x[row, : len(one)] = one if rng is None else masked(one, rng)
            labels.append(self.labels[self.label_starts[index] : self.label_starts[index + 1]])
        steps = torch.tensor([(longest + STRIDE - 1) // STRIDE] * len(batch))
        return (
            torch.from_numpy(x.transpose(0, 2, 1).copy()), steps,
            torch.from_numpy(np.concatenate(labels).astype(np.int64)),
            torch.from_numpy(self.label_lengths[batch]),
        )  # fmt: skip


def masked(one: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """SpecAugment: up to two stripes of bands and two of time at the mean; a tilt of the bands."""
    one = one + rng.normal(0, 0.08) * np.linspace(-1, 1, one.shape[1], dtype=np.float32)
    mean = float(one.mean())
    for _ in range(int(rng.integers(0, 3))):
        width, at = int(rng.integers(1, 7)), int(rng.integers(0, one.shape[1] - 7))
        one[:, at : at + width] = mean
    for _ in range(int(rng.integers(0, 3))):
        width, at = int(rng.integers(1, 9)), int(rng.integers(0, max(1, len(one) - 9)))
        one[at : at + width] = mean
    return one


def loss_of(
    net: Net, data: Data, batch: list[int], rng: np.random.Generator | None
) -> torch.Tensor:
    """Mean CTC loss a phone."""
    x, steps, labels, label_lengths = data.tensors(batch, rng)
    scores = net(x)[1].log_softmax(1).permute(2, 0, 1)
    return nn.functional.ctc_loss(scores, labels, steps, label_lengths, zero_infinity=True)


def phone_errors(net: Net, data: Data, chosen: npt.NDArray[np.int64]) -> float:
    """Share of phones wrong, decoding greedily."""
    wrong = total = 0
    with torch.no_grad():
        for index in chosen:
            x, _, labels, _ = data.tensors([int(index)], None)
            best = net(x)[1][0].argmax(0).numpy()
            heard = [int(p) for i, p in enumerate(best) if p and (i == 0 or p != best[i - 1])]
            wrong += distance(heard, labels.tolist())
            total += len(labels)
    return wrong / total


def distance(one: list[int], other: list[int]) -> int:
    """Edits between two sequences."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=WORK / "train")
    parser.add_argument("--out", type=Path, default=WORK / "net.pt")
    parser.add_argument("--start", type=Path, help="go on from this checkpoint's weights")
    parser.add_argument("--rate", type=float, default=2e-3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    data = Data(args.data)
    shuffled = np.random.default_rng(0).permutation(data.usable)
    held, chosen = shuffled[:HELD_BACK], shuffled[HELD_BACK:]
    net = Net(len(PHONES))
    if args.start:
        net.load_state_dict(torch.load(args.start)["net"])
    optimiser = torch.optim.AdamW(net.parameters(), args.rate, weight_decay=1e-2)
    count = len(data.batches(chosen, rng))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        args.rate,
        total_steps=args.epochs * (count + 60),
        pct_start=0.02 if args.start else 0.15,
    )
    print(f"{sum(p.numel() for p in net.parameters())} parameters, {count} batches an epoch")
    for epoch in range(args.epochs):
        began, losses = time.monotonic(), []
        net.train()
        for batch in track(data.batches(chosen, rng), f"epoch {epoch + 1}", refresh_per_second=0.2):
            optimiser.zero_grad()
            loss = loss_of(net, data, batch, rng)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        net.eval()
        errors = phone_errors(net, data, held)
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, phone errors {errors:.3f}, "
              f"{time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
        kept = {"net": net.state_dict(), "epoch": epoch + 1, "errors": errors}
        torch.save(kept, args.out)
        torch.save(kept, args.out.with_stem(f"{args.out.stem}-{epoch + 1}"))


if __name__ == "__main__":
    main()
