#!/usr/bin/env bash
# kill -9 in the middle of `topo run access-log`, again and again, with the same input and data directory; at the end every
# line of the input must be in topic `access` once, in order, and in `requests` or the dead letters at least once.
#
#   tests/durability/kill-access-log.sh [KILLS]     500 unless given
#
# TOPO names the binary; without it, a release build is made. Prints the seed; SEED repeats a run's input and delays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
kills=${1:-500}
seed=${SEED:-$RANDOM}
RANDOM=$seed
topo=${TOPO:-}
if [ -z "$topo" ]; then
    cargo build --release --quiet
    topo=${CARGO_TARGET_DIR:-target}/release/topo
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "seed $seed"

# One line in a hundred is none that can be parsed.
awk -v seed="$seed" 'BEGIN {
    srand(seed)
    for (i = 0; i < 300000; i++) {
        if (int(rand() * 100) == 0) { print "line " i " is no request"; continue }
        printf "10.0.%d.%d - - [10/Oct/2025:13:%02d:%02d +0000] \"GET /item/%d HTTP/1.1\" 200 %d\n", \
            rand() * 250, rand() * 250, int(i / 60) % 60, i % 60, i, rand() * 9999
    }
}' >"$work/access.log"

fail() {
    echo "$1; seed $seed" >&2
    exit 1
}

# What the log holds must be the input, once and in order, and all of it must have come out.
verify() {
    "$topo" consume access --data-dir "$work/data" >"$work/gathered"
    cmp -s "$work/access.log" "$work/gathered" || fail "topic access is not the input, once and in order"
    "$topo" consume requests --data-dir "$work/data" | sed -n 's/.*"path":"\([^"]*\)".*/\1/p' | sort -u >"$work/requests"
    sed -n 's/.*"GET \([^ ]*\) .*/\1/p' "$work/access.log" | sort -u >"$work/expected"
    cmp -s "$work/expected" "$work/requests" || fail "requests are missing"
    "$topo" consume access.dead-letter --data-dir "$work/data" | sort -u >"$work/rejected"
    grep 'is no request' "$work/access.log" | sort -u | cmp -s - "$work/rejected" || fail "dead letters are missing"
}

killed=0 between=0 passes=0
while [ "$killed" -lt "$kills" ]; do
    rm -rf "$work/data"
    passes=$((passes + 1))
    while :; do
        "$topo" run access-log --input "$work/access.log" --until-idle --data-dir "$work/data" --status off \
            >"$work/out" 2>"$work/err" &
        run=$!
        sleep "0.$(printf '%03d' $((RANDOM % 400)))"
        if [ "$killed" -lt "$kills" ] && kill -9 "$run" 2>/dev/null; then
            killed=$((killed + 1))
            # The kill is between the first and the last ack where results are there and more are to come.
            wait "$run" 2>/dev/null || true
            if [ "$("$topo" consume requests --data-dir "$work/data" -n 1 2>/dev/null | wc -l)" = 1 ]; then
                between=$((between + 1))
            fi
            continue
        fi
        wait "$run" || fail "a run ended in an error: $(cat "$work/err")"
        break
    done
    verify
done
echo "$killed kills, $between of them after the first result, over $passes passes: nothing lost, nothing gathered twice"
