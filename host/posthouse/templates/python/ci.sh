#!/bin/sh
# What a build server runs: build, then the cases.
set -eu
cd "$(dirname "$0")"

./build.sh
"${POSTHOUSE:-posthouse}" policy run {{name}}.wasm --case tests/cases.toml
