#!/bin/sh
# What a build server runs: the component, the cases natively, the cases against the component.
# POSTHOUSE names the posthouse to use, if it is not in the path.
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
