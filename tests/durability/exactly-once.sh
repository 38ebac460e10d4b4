#!/bin/sh
# Exactly once on the seeded scheduler and a log in memory: whole topologies in which bolts, the log and answers fail and
# processes are killed, at random and at each step and pair of steps of a micro-transaction. How many seeds each has is the
# first argument, the first seed the second; a failure names its seed.
#
#   tests/durability/exactly-once.sh 1000
set -eu
cd "$(dirname "$0")/../.."
TOPO_SEEDS="${1:-1000}" TOPO_FIRST_SEED="${2:-0}" exec cargo test --release -p topo-connectors --test exactly_once
