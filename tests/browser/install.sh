#!/usr/bin/env bash
# Installs what the page is tried with: Chromium, a package of Debian's, and beside this script what drives it. Needs Node.js
# with npm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v chromium >/dev/null; then
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
fi
npm install --silent --no-fund --no-audit --no-package-lock
