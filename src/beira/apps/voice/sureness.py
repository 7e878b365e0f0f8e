"""How sure Aurora must be, as her recogniser was calibrated; light enough for whoever shows settings.

The two thresholds travel with the model, so that a new one brings its own. `ACT` and `ASK` stand where
a model has none. An engine that gives no confidence is never compared with them: it is taken to be
sure enough for questions and alerts, and never for money or hours.
"""

from __future__ import annotations

import json
from functools import lru_cache
from math import ceil
from pathlib import Path

MODEL = Path(__file__).with_name("model") / "model.json"
ACT, ASK = 0.92, 0.3


@lru_cache(maxsize=1)
def calibrated() -> tuple[float, float]:
    """The least confidence to write money and hours without asking, and to take anything as heard."""
    try:
        found = json.loads(MODEL.read_text(encoding="utf-8"))["calibration"]
        return ceil(100 * float(found["act"])) / 100, ceil(100 * float(found["ask"])) / 100
    except (OSError, ValueError, LookupError, TypeError):
        return ACT, ASK
