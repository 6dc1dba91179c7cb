#!/bin/sh
# Builds python-quiet-notices.wasm.
set -eu
cd "$(dirname "$0")"

python=${PYTHON:-python3}
if ! command -v "$python" >/dev/null || ! "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))'; then
  echo "build.sh: Python 3.10 or newer with venv is needed (Debian: apt-get install python3-venv)" >&2
  exit 1
fi
posthouse=${POSTHOUSE:-posthouse}
if ! command -v "$posthouse" >/dev/null; then
  echo "build.sh: posthouse is not in the path: set POSTHOUSE to where it is" >&2
  exit 1
fi
tool=.venv/bin/componentize-py
if [ ! -x "$tool" ]; then
  { "$python" -m venv .venv && .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt; } || {
    echo "build.sh: pip could not install componentize-py, which requirements.txt names" >&2
    echo "build.sh: without venv: apt-get install python3-venv" >&2
    exit 1
  }
fi
"$tool" --quiet -d wit -w module componentize -p src policy -o python-quiet-notices.wasm
# The schema, for `posthouse policy explain`.
"$posthouse" policy embed python-quiet-notices.wasm settings.schema.json
