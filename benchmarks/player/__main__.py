"""The player's figures: `python -m benchmarks.player [--quick]`, one JSON object a figure.

Each part is a program of its own (`python -m benchmarks.player.deciding`), so that none stands in what
another left in memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

PARTS: dict[str, list[str]] = {
    "deciding": ["--quick"],
    "shops": ["5000", "100"],
    "encoding": ["20"],
    "sound": ["--tries", "3"],
}
"""With what each is quick."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of all, in under a minute")
    quick = parser.parse_args().quick
    failed = 0
    for part, less in PARTS.items():
        if Path(__file__).with_name(f"{part}.py").exists():
            command = [sys.executable, "-m", f"benchmarks.player.{part}", *(less if quick else [])]
            failed |= subprocess.run(command, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
