#!/bin/sh
# Make the virtual environment with uv in it, from any Python 3.11 or newer that can be found.
# Usage: tools/make_venv.sh FOLDER [PYTHON]. Does nothing when the environment works already.
set -eu
folder=$1
wanted=${2:-}
here=$(dirname "$0")

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [ -n "$wanted" ]; then
    candidates=$wanted
else
    candidates="python3 python3.14 python3.13 python3.12 python3.11 python"
fi
for candidate in $candidates; do
    if new_enough "$candidate"; then
        exec "$candidate" "$here/make_venv.py" "$folder" "$here/../constraints.txt"
    fi
done

cat >&2 <<END
Beira needs Python 3.11 or newer; found: $( ("${wanted:-python3}" --version || echo nothing) 2>&1 | tail -n 1).
  next: install it (Debian 12 and Ubuntu 24.04: apt-get install python3; macOS: brew install python),
        or name the one you have: make PYTHON=/path/to/python3.12 run
END
exit 1
