#!/usr/bin/env bash
# Instructions per record of the hot paths, counted by callgrind, which counts the same whatever else the machine does.
# A workload runs on the seeded single thread, where a run is the same every time, with two numbers of records; the
# difference leaves out starting and stopping.
#
#   tests/instructions/count.sh            prints the counts
#   tests/instructions/count.sh --check    and fails where one is more than a tenth above tests/instructions/counts.txt
#   tests/instructions/count.sh --write    and writes that file
#
# Needs valgrind. TOPO names the binary; without it, a release build is made.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v valgrind >/dev/null || { echo "valgrind is missing; install it to count instructions" >&2; exit 2; }
topo=${TOPO:-}
if [ -z "$topo" ]; then
    cargo build --release --quiet
    topo=${CARGO_TARGET_DIR:-target}/release/topo
fi
few=100000 many=300000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Instructions of one run, and the records that its last bolt counted.
run() {
    valgrind --tool=callgrind --callgrind-out-file="$work/out" "$topo" bench "$1" "--$2" --records "$3" --seeded --json \
        >"$work/json" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    instructions=$(sed -n 's/^summary: //p' "$work/out")
    records=$(sed -n 's/.*"records":\([0-9]*\).*/\1/p' "$work/json")
}

for workload in identity word-count; do
    for delivery in acked unacked; do
        run "$workload" "$delivery" "$few"
        first=$instructions first_records=$records
        run "$workload" "$delivery" "$many"
        echo "$workload $delivery $(((instructions - first) / (records - first_records)))"
    done
done | tee "$work/counts"

case ${1:-} in
    --write) cp "$work/counts" tests/instructions/counts.txt ;;
    --check)
        while read -r workload delivery kept; do
            now=$(sed -n "s/^$workload $delivery //p" "$work/counts")
            if [ "$((now * 10))" -gt "$((kept * 11))" ]; then
                echo "$workload $delivery: $now instructions per record, kept are $kept" >&2
                exit 1
            fi
        done <tests/instructions/counts.txt
        ;;
esac
