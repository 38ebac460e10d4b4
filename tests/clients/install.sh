#!/usr/bin/env bash
# Installs the Kafka clients of other languages, and what the notebook runs on, beside this script: needs Python 3 with
# venv, Node.js with npm, and, for kcat, Debian's packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if ! command -v kcat >/dev/null; then
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq kcat >/dev/null
fi
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt -r ../../examples/notebook/requirements.txt
npm install --silent --no-fund --no-audit --no-package-lock
