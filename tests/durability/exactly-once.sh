#!/bin/bash
# Exactly once on the seeded scheduler and a log in memory. Whole topologies are aborted, and killed, at each step of a
# micro-transaction (emit, process, marker, flush of state, output, offsets, commit, after commit, cleanup, and what lies
# between), and at each ordered pair of steps with the second as the first is recovered from: 20 runs each, or as many as the
# first argument says. Then topologies behind a connection that delays and drops what passes, the answer to a commit above
# all, and topologies, windows, sessions and timers in which anything fails: under 1000 seeds each, or as many as the second
# argument says.
#
#   tests/durability/exactly-once.sh 20 1000
#
# Prints its counts: runs, batches that were committed, aborts, kills, and what was lost and duplicated. A failure names its
# seed and its steps.
set -euo pipefail
cd "$(dirname "$0")/../.."
try() { cargo test --quiet -p topo-connectors --test exactly_once -- --nocapture "$@" 2>&1; }
counts() { grep -E ' runs, |FAILED|failed with|^error|test result'; }
TOPO_SEEDS="${1:-20}" try fail_points | counts
TOPO_SEEDS="${2:-1000}" try --skip fail_points | counts
