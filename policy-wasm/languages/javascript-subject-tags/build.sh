#!/bin/sh
# Builds javascript-subject-tags.wasm.
set -eu
cd "$(dirname "$0")"

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "build.sh: node and npm are needed: Node.js 20 or newer (Debian: apt-get install nodejs npm)" >&2
  exit 1
fi
posthouse=${POSTHOUSE:-posthouse}
if ! command -v "$posthouse" >/dev/null; then
  echo "build.sh: posthouse is not in the path: set POSTHOUSE to where it is" >&2
  exit 1
fi
tool=node_modules/.bin/componentize-js
if [ ! -x "$tool" ]; then
  npm install --no-audit --no-fund --no-package-lock || {
    echo "build.sh: npm could not install componentize-js, which package.json names" >&2
    exit 1
  }
fi
# QuickJS (componentize-qjs) is smaller and faster, but cannot drop the message that `checkMessage` borrows.
# Without --disable the component imports wasi:http, which no policy is granted.
"$tool" src/policy.js --wit wit --world-name module --disable http fetch-event --out javascript-subject-tags.wasm >/dev/null
# The schema, for `posthouse policy explain`.
"$posthouse" policy embed javascript-subject-tags.wasm settings.schema.json
