#!/bin/sh
# Plays lives of a partition on the simulated disk: appends, syncs, kills and power losses, each life finding what the
# one before was told is durable. How many seeds is the first argument; a failure names its seed.
#
#   tests/durability/disk.sh 100000
set -eu
cd "$(dirname "$0")/../.."
TOPO_DISK_SEEDS="${1:-100000}" exec cargo test --release -p topo-log --test partition crash::many_lives -- --nocapture
