#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a while.
#
#   tests/fuzz/run.sh [SECONDS [TARGET...]]      600 seconds each, all targets
#
# What a run finds beyond the committed corpus stays in tests/fuzz/found; an input that fails, in tests/fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")"

seconds="${1:-600}"
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(decode_v31 decode_v311 decode_v5 chunks topics session conversation)
host="$(rustc -vV | sed -n 's/^host: //p')"

# coverage as libFuzzer wants it, with the stable compiler; --target keeps it out of build scripts
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
echo "== building"
cargo build --release --locked --target "$host"

mkdir -p artifacts
for target in "${targets[@]}"; do
    echo "== $target for $seconds s"
    mkdir -p "found/$target" "corpus/$target"
    log="found/$target.log"
    if ! "target/$host/release/$target" "found/$target" "corpus/$target" -max_total_time="$seconds" \
        -artifact_prefix="artifacts/$target-" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "== $target FAILED: see tests/fuzz/artifacts" >&2
        exit 1
    fi
    sed -n "s/^stat::number_of_executed_units: */$target executions: /p" "$log"
done
