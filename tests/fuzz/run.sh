#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a while, as many side by side as there are cores.
#
#   tests/fuzz/run.sh [SECONDS [TARGET...]]      600 seconds each, all targets
#   JOBS=1 tests/fuzz/run.sh                     one after the other
#
# Every target starts with a line and ends with one: how often it ran, or that it failed; then so does the script, once
# the others are through. What a run finds beyond the committed corpus stays in tests/fuzz/found, its log beside it; an
# input that fails, in tests/fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")"

seconds="${1:-600}"
shift || true
targets=("$@")
# the slowest first: they would be the last ones running
[ ${#targets[@]} -gt 0 ] || targets=(conversation session topics chunks decode_v5 decode_v311 decode_v31)
jobs="${JOBS:-$(nproc)}"
host="$(rustc -vV | sed -n 's/^host: //p')"

# coverage as libFuzzer wants it, with the stable compiler; --target keeps it out of build scripts
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
echo "== building"
cargo build --release --locked --target "$host"

mkdir -p artifacts found
here="$PWD"

# Runs one target. Its working directory is where its findings belong: libFuzzer leaves files there under names of its
# own, whatever it is told.
fuzz() {
    local target="$1" log="$here/found/$1.log"
    mkdir -p "found/$target" "corpus/$target"
    echo "== $target: $seconds s from $(date +%T)"
    if (cd artifacts && "$here/target/$host/release/$target" "$here/found/$target" "$here/corpus/$target" \
        -max_total_time="$seconds" -artifact_prefix="$here/artifacts/$target-" -rss_limit_mb=2048 -timeout=10 \
        -print_final_stats=1) >"$log" 2>&1; then
        echo "== $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions"
    else
        echo "== $target: FAILED after $(grep -c . "$log") lines of found/$target.log, which end with:"
        tail -n 40 "$log"
        return 1
    fi
}

failed=0
running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "$jobs" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
if [ "$failed" -ne 0 ]; then
    echo "== a target failed: its input is in tests/fuzz/artifacts" >&2
    exit 1
fi
