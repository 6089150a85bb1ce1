#!/usr/bin/env bash
# Installs what the tests need on a Debian with Rust, and runs all of them.
#
#   tests/run.sh            everything
#   tests/run.sh --long     with the tests that take many minutes
#   tests/run.sh -- ARGS    ARGS go to `cargo test`
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

cargo_arguments=()
while [ $# -gt 0 ]; do
    case "$1" in
        --long) export TIDEGATE_TEST_LONG=1 PROPTEST_CASES=10000 ;;
        --) shift; cargo_arguments=("$@"); break ;;
        *) echo "unknown argument $1; see the head of $0" >&2; exit 2 ;;
    esac
    shift
done

# command:package; only what is missing is installed
wanted="mosquitto:mosquitto mosquitto_pub:mosquitto-clients chromium:chromium node:nodejs npm:npm curl:curl jq:jq
valgrind:valgrind nginx:nginx ss:iproute2 openssl:openssl"
missing=()
for pair in $wanted; do
    PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

if [ ! -e tests/interop/node_modules/.package-lock.json ] ||
    [ tests/interop/package-lock.json -nt tests/interop/node_modules/.package-lock.json ]; then
    say "installing the JavaScript clients"
    npm ci --prefix tests/interop --no-fund --no-audit
fi

if [ ! -x tests/.venv/bin/python ] ||
    ! tests/.venv/bin/python -c 'import paho.mqtt, openapi_spec_validator, schemathesis' 2>/dev/null; then
    say "installing the Python clients"
    python3 -m venv tests/.venv
    tests/.venv/bin/pip install --quiet --disable-pip-version-check -r tests/interop/requirements.txt
fi

# most tests wait for a process, a socket or a timer: more of them than cores can run at once
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-8}"

say "cargo test"
cargo test --locked "${cargo_arguments[@]}"

if [ ${#cargo_arguments[@]} -eq 0 ]; then
    say "instructions per operation, against tests/bench/instructions.baseline.tsv"
    cargo bench --locked --bench instructions -- --check
    if [ -n "${TIDEGATE_TEST_LONG:-}" ]; then
        say "fuzzing"
        tests/fuzz/run.sh 600
    fi
fi
say "all tests passed"
