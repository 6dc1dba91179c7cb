#!/bin/sh
# The script for a build server: builds the component, then runs the cases.
set -eu
cd "$(dirname "$0")"

./build.sh
"${POSTHOUSE:-posthouse}" policy run {{name}}.wasm --case tests/cases.toml
