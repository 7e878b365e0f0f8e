#!/bin/sh
# Write constraints.txt anew: the newest versions that pyproject.toml allows, for every Python and
# platform we support, then proven by installing them into a fresh environment.
# Usage: tools/constraints.sh UV
set -eu
uv=$1
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM

printf 'uv\nhatchling\n' >"$scratch/tools.in"
"$uv" pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade \
    --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
    -o "$scratch/constraints.txt" "$root/pyproject.toml" "$scratch/tools.in"
{
    echo "# Versions that work together. Written by 'make constraints'; the ranges are in pyproject.toml."
    cat "$scratch/constraints.txt"
} >"$scratch/new.txt"

"$uv" venv --quiet --python "${PYTHON:-python3}" "$scratch/venv"
"$uv" pip install --quiet --python "$scratch/venv/bin/python" -c "$scratch/new.txt" \
    "$root[cloud,voice,player,home,dev]"
"$uv" pip check --python "$scratch/venv/bin/python"
mv "$scratch/new.txt" "$root/constraints.txt"
echo "constraints: $(grep -c == "$root/constraints.txt") versions; run 'make test' before committing"
