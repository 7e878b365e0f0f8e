#!/bin/sh
# Forget the demonstration's data, but never under a database that still runs: what is deleted
# beneath a live PostgreSQL comes back half.
set -eu
folder=${1:?folder}
[ -d "$folder" ] || exit 0
for file in $(find "$folder" -name postmaster.pid); do
    pid=$(head -n 1 "$file")
    if kill -0 "$pid" 2>/dev/null && grep -qs postgres "/proc/$pid/comm"; then
        echo "clean-demo: the demonstration still runs (PostgreSQL, process $pid)." >&2
        echo "  next: stop it with Ctrl-C where 'make run' runs, or: kill -INT $pid" >&2
        exit 1
    fi
done
rm -rf -- "$folder"
echo "clean-demo: $folder is gone; 'make run' starts afresh"
