#!/bin/sh
# kill -9 in the middle of open windows, again and again, while events are fed: in the end, the last result of each window,
# and of the windows over these results, must hold each event that belongs to it and nothing else. How many kills is the
# first argument.
#
#   tests/durability/kill-windows.sh 50
#
# It prints its seed, which TOPO_TEST_SEED repeats, and in the end its figures.
set -eu
cd "$(dirname "$0")/../.."
TOPO_KILLS="${1:-50}" exec cargo test -p topo-command --test command kill_windows:: -- --nocapture
