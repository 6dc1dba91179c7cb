#!/bin/sh
# The script for a build server: builds the component, runs the cases natively, then against the component.
# POSTHOUSE is the posthouse to use if the path has none.
set -eu
cd "$(dirname "$0")"
./build.sh
cargo test
posthouse=${POSTHOUSE:-posthouse}
if ! command -v "$posthouse" >/dev/null; then
  echo "ci.sh: posthouse is not in the path: the cases were run natively, but not against {{name}}.wasm; set POSTHOUSE" >&2
  exit 0
fi
"$posthouse" policy run {{name}}.wasm --case tests/cases.toml
