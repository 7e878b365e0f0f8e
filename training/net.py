"""The acoustic model: features to phone scores, by convolutions that see 0.4 s ahead.

Ten factored blocks (narrow, then three taps wide) with skips, at 30 ms a step. Convolutions, not
recurrence, so that any stretch can be computed by itself as audio arrives, with the same result.
"""

from __future__ import annotations

import torch
from torch import nn

STRIDE = 3
DILATIONS = (1, 1, 1, 1, 1, 1, 2, 2, 2, 2)
STEM_TAPS = 7


class Block(nn.Module):
    """Narrow, then wide over three taps; adds to its input."""

    def __init__(self, width: int, narrow: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(width, narrow, 1, bias=False),
            nn.BatchNorm1d(narrow),
            nn.Conv1d(narrow, width, 3, dilation=dilation, padding=dilation, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class Net(nn.Module):
    """(batch, bands, frames) to hidden (batch, width, steps) and logits (batch, phones, steps)."""

    def __init__(self, phones: int, bands: int = 40, width: int = 256, narrow: int = 96) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(bands, width, STEM_TAPS, stride=STRIDE, padding=STEM_TAPS // 2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*(Block(width, narrow, d) for d in DILATIONS))
        self.last = nn.Sequential(nn.Conv1d(width, 128, 1), nn.ReLU())
        self.out = nn.Conv1d(128, phones, 1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.last(self.blocks(self.stem(features)))
        return hidden, self.out(self.dropout(hidden))
