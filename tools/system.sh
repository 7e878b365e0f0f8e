#!/bin/sh
# Chromium, nginx and mpv for the tests that need a real browser, reverse proxy and player. They are no
# Python packages, so: installed where we are root on Debian or Ubuntu; elsewhere said, not forced,
# and the tests that need them are skipped with the same reason.
set -eu

missing=""
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 \
    || command -v google-chrome >/dev/null 2>&1 || missing="$missing chromium"
PATH="$PATH:/usr/sbin" command -v nginx >/dev/null 2>&1 || missing="$missing nginx-light"
command -v mpv >/dev/null 2>&1 || missing="$missing mpv"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "system: installing$missing (Debian packages)"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of package names
    if (timeout 120 apt-get update && timeout 420 apt-get install -y --no-install-recommends $missing) \
        >/tmp/beira-apt.log 2>&1; then
        exit 0
    fi
    echo "system: apt-get failed; its last lines:" >&2
    tail -n 5 /tmp/beira-apt.log >&2
fi

echo "system: not here:$missing" >&2
case $missing in *chromium*) echo "  will be skipped: browser tests (pages, accessibility, screens)" >&2 ;; esac
case $missing in *nginx*) echo "  will be skipped: client certificates at a reverse proxy, a cache before the cloud" >&2 ;; esac
case $missing in *mpv*) echo "  will be skipped: what plays for real" >&2 ;; esac
echo "  next: as root, apt-get install$missing (macOS: brew install chromium nginx mpv), then make test" >&2
