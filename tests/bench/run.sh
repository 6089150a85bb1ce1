#!/usr/bin/env bash
# Measures the gateway, the relay and Mosquitto in turn on this machine and writes target/bench/report.html.
# Takes about eight minutes after the build; a machine that does something else meanwhile measures nonsense.
#
#   tests/bench/run.sh
#   SECONDS_EACH=5 ROUNDS=5 tests/bench/run.sh              longer, for figures to publish
#   PROFILE=dist tests/bench/run.sh                         with what is shipped
#   CASES='pairs,pairs --qos 1' tests/bench/run.sh          these cases only, no memory
#   GROWTH=1 tests/bench/run.sh                             cost against size instead of the usual cases: ten minutes
#   OTHERS=flashmq=127.0.0.1:1890:4711 tests/bench/run.sh   brokers that run already, as `bench compare` takes them
#   GATEWAY=/path/to/tidegate tests/bench/run.sh            another build of the gateway, with this generator
set -euo pipefail
cd "$(dirname "$0")/../.."

profile="${PROFILE:-release}"
cargo build --locked --profile "$profile"
bench="$PWD/target/$profile/tidegate"
gateway="${GATEWAY:-$bench}"
mosquitto="$(PATH="$PATH:/usr/sbin" command -v mosquitto || true)"
out="$PWD/target/bench"
rm -rf "$out"
mkdir -p "$out"

# growth opens 19,000 connections, in the generator and in each broker
ulimit -n "$(ulimit -Hn)"

started=()
# $started holds only what this script started and what has not been waited for
trap 'for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done' EXIT

# below the ports that the system gives to clients, and new ones for each start: Mosquitto does not listen at a port
# that has closed connections a moment ago
port=21880 http=21881

# start NAME: starts a broker, leaves its process in $pid and its description for `bench compare` in $broker
start() {
    port=$((port + 2)) http=$((http + 2))
    case "$1" in
        gateway)
            "$gateway" --mqtt 127.0.0.1:$port --http 127.0.0.1:$http --data "$out/data" \
                --set limits.connections=20000 --set log.level=warn >"$out/gateway.log" 2>&1 &
            ;;
        relay)
            "$bench" bench relay --listen 127.0.0.1:$port --http 127.0.0.1:$http >"$out/relay.log" 2>&1 &
            ;;
        mosquitto)
            cat >"$out/mosquitto.conf" <<CONF
listener $port 127.0.0.1
listener $http 127.0.0.1
protocol websockets
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 0
log_type error
CONF
            "$mosquitto" -c "$out/mosquitto.conf" >"$out/mosquitto.log" 2>&1 &
            ;;
    esac
    pid=$!
    broker="$1=127.0.0.1:$port:$pid:$http"
    started+=("$pid")
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        kill -0 "$pid" || { cat "$out/$1.log" >&2; exit 1; }
        sleep 0.05
    done
}

# stop: ends the broker that was started last
stop() {
    kill "$pid"
    wait "$pid" 2>/dev/null || true
    unset 'started[-1]'
}

names=(gateway relay)
[ -z "$mosquitto" ] || names+=(mosquitto)

compare=(--rounds "${ROUNDS:-3}" --seconds "${SECONDS_EACH:-1.2}")
usual=("pairs" "pairs --qos 1" "pairs --qos 2" "fan-out" "fan-out --qos 1" "fan-in" "pairs --window 1"
    "fan-out --window 1" "ws-pairs" "ws-pairs --qos 1" "filters --count 300" "filters --count 100000" "sse" "http-post"
    "latency --qos 1" "half-load --qos 1" "neighbours" "neighbours --qos 1")
# of the gateway alone: the others keep nothing on a disk
kept=("durable --publishers 1" "durable --publishers 16" "durable --publishers 256"
    "durable --publishers 16 --sessions 1000")
growth=()
for size in 10 100 1000 10000; do growth+=("fan-out --subscribers $size"); done
# two connections each
for size in 1 10 100 1000 9500; do growth+=("pairs --publishers $size"); done
for size in 10 1000 100000 1000000; do growth+=("filters --count $size"); done
for size in 16 256 4096 65536; do growth+=("pairs --publishers 10 --payload $size"); done
cases=("${usual[@]}")
[ -z "${GROWTH:-}" ] || cases=("${growth[@]}")

if [ -n "${CASES:-}" ]; then
    IFS=, read -ra cases <<<"$CASES"
fi

# Memory first, of a process that has just started for each: later ones use again what earlier ones took.
if [ -z "${CASES:-}${GROWTH:-}" ]; then
    for case in "idle --count 18000" "idle --subscribed --count 18000" "idle --via ws --count 2000" "idle --via sse --count 1000" \
        "retained" "filters --seconds 0.1"; do
        for name in "${names[@]}"; do
            [ "$name" != relay ] || continue
            # Mosquitto has no SSE and takes a tenth of a second to open a WebSocket
            [[ "$name $case" != mosquitto*--via* ]] || continue
            echo "memory: $name $case" >&2
            start "$name"
            # shellcheck disable=SC2086 # a case is several words
            if outcome="$("$bench" bench $case --port $port --http-port $http --pid "$pid" --json)"; then
                # the rate of so short a run means nothing
                outcome="$(sed 's/"per_cpu_second":[^,}]*,\{0,1\}//; s/"delivered":[0-9]*/"delivered":0/' <<<"$outcome")"
                printf '{"broker":"%s","line":"%s","round":1,"outcome":%s}\n' "$name" "${case% --seconds 0.1}" "$outcome" \
                    >>"$out/memory.jsonl"
            else
                echo "$name cannot do $case" >&2
            fi
            stop
        done
    done
    start gateway
    list=""
    for case in "${kept[@]}"; do list+=",$case"; done
    "$bench" bench compare --brokers "$broker" --cases "${list#,}" "${compare[@]}" --jsonl "$out/kept.jsonl" >"$out/kept.md"
    stop
    cat "$out/kept.jsonl" >>"$out/memory.jsonl"
    compare+=(--add "$out/memory.jsonl")
fi

list=""
for case in "${cases[@]}"; do list+=",$case"; done
brokers=""
for name in "${names[@]}"; do
    start "$name"
    brokers+=",$broker"
done
brokers+="${OTHERS:+,$OTHERS}"
"$bench" bench compare --brokers "${brokers#,}" --cases "${list#,}" "${compare[@]}" \
    --goals tests/bench/goals.tsv --jsonl "$out/results.jsonl" --html "$out/report.html" | tee "$out/report.md"
