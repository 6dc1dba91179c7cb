#!/bin/sh
# Builds c-blocklist.wasm with the first available compiler of: $WASI_SDK_PATH, clang, zig, zig of pip.
set -eu
cd "$(dirname "$0")"

posthouse=${POSTHOUSE:-posthouse}
if ! command -v "$posthouse" >/dev/null; then
  echo "build.sh: posthouse is not in the path: set POSTHOUSE to where it is" >&2
  exit 1
fi
# A small stack below the data, so that an overflow traps instead of overwriting data. zig places the stack there
# without an option.
below=-Wl,--stack-first
if [ -n "${WASI_SDK_PATH:-}" ]; then
  compiler="$WASI_SDK_PATH/bin/clang --sysroot=$WASI_SDK_PATH/share/wasi-sysroot"
elif command -v clang >/dev/null && command -v wasm-ld >/dev/null && [ -d /usr/include/wasm32-wasi ]; then
  compiler="clang --sysroot=/usr"
elif command -v zig >/dev/null; then
  compiler="zig cc" below=
elif command -v python3 >/dev/null && python3 -c 'import ziglang' 2>/dev/null; then
  compiler="python3 -m ziglang cc" below=
else
  echo "build.sh: no C compiler that makes WebAssembly. One of these is enough:" >&2
  echo "  Debian:     apt-get install clang lld wasi-libc libclang-rt-dev-wasm32" >&2
  echo "  elsewhere:  zig, or pip install ziglang, or the WASI SDK in WASI_SDK_PATH" >&2
  exit 1
fi

# The types and functions of the contract.
"$posthouse" policy bindings wit --lang c --world module --out generated >/dev/null

# Line tables for Event 4037; undefined behaviour traps.
# shellcheck disable=SC2086 # $compiler may be several words, and $below may be empty
$compiler --target=wasm32-wasi -mexec-model=reactor -std=c11 -Os -g1 -ffile-prefix-map="$PWD"=. \
  -Wall -Wextra -Wno-unused-parameter -fsanitize=undefined -fsanitize-trap=undefined \
  $below -Wl,-z,stack-size=131072 \
  -Igenerated src/*.c generated/module.c generated/module_component_type.o -o c-blocklist.wasm
# The schema, for `posthouse policy explain`.
"$posthouse" policy embed c-blocklist.wasm settings.schema.json
