#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, 10 by default, from the corpus that is checked in; fails with the first that
# fails, and keeps the input that did it in target/fuzz/artifacts. `tests/fuzz/run.sh 60 batch segment` runs two of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds="${1:-10}"
# The same seed goes the same way; another one, or more time, goes further.
seed="${TOPO_FUZZ_SEED:-1}"
shift || true
export CARGO_TARGET_DIR="$PWD/target/fuzz"
# An error that carries a backtrace takes more memory than its message.
export RUST_LIB_BACKTRACE=0
fuzz=(--fuzz-dir tests/fuzz)

cargo fuzz --version >/dev/null 2>&1 || env -u CARGO_TARGET_DIR cargo install cargo-fuzz --locked
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    mapfile -t targets < <(cargo fuzz list "${fuzz[@]}")
fi

# What is found meanwhile stays out of the tree.
found="$(mktemp -d)"
trap 'rm -rf "$found"' EXIT
for target in "${targets[@]}"; do
    mkdir -p "$found/$target" "target/fuzz/artifacts/$target"
    cp -r "tests/fuzz/corpus/$target/." "$found/$target/"
    printf '\n-- fuzz %s for %s s, TOPO_FUZZ_SEED=%s, from %s seeds\n' "$target" "$seconds" "$seed" "$(find "$found/$target" -type f | wc -l)"
    # No sanitizer: it needs a nightly toolchain, and nothing of ours is unsafe.
    cargo fuzz run -s none "${fuzz[@]}" "$target" "$found/$target" -- \
        -seed="$seed" -max_total_time="$seconds" -timeout=30 -max_len=8192 -print_final_stats=1 -verbosity=1 \
        -artifact_prefix="$PWD/target/fuzz/artifacts/$target/" >"$found/$target.txt" 2>&1 ||
        { tail -n 60 "$found/$target.txt"; exit 1; }
    grep -E 'DONE|stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "$found/$target.txt"
done
