#!/bin/sh
# Builds {{name}}.wasm.
set -eu
cd "$(dirname "$0")"
if ! command -v cargo >/dev/null; then
  echo "build.sh: cargo is needed: install Rust with rustup, https://rustup.rs" >&2
  exit 1
fi
if ! [ -d "$(rustc --print target-libdir --target wasm32-wasip2)" ]; then
  echo "build.sh: Rust's target wasm32-wasip2 is needed: rustup target add wasm32-wasip2" >&2
  exit 1
fi
target=${CARGO_TARGET_DIR:-target}
cargo build --release --target wasm32-wasip2 --target-dir "$target"
cp "$target/wasm32-wasip2/release/{{crate_name}}.wasm" {{name}}.wasm
echo "{{name}}.wasm"
