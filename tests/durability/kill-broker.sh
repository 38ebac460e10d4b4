#!/bin/sh
# kill -9 of `topo broker` under load from idempotent producers of librdkafka, again and again: whatever was acknowledged must
# be in the log at its offset, each producer's records in order and once, and no committed offset may go back. How many kills
# is the first argument. Then once at each operation of the storage in a fixed run: before it, and with half of it done.
#
#   tests/durability/kill-broker.sh 1000
#
# Prints its seed, which TOPO_TEST_SEED repeats, and in the end its figures.
set -eu
cd "$(dirname "$0")/../.."
TOPO_KILLS="${1:-1000}" exec cargo test -p topo-tests --test kills -- --nocapture --test-threads 1
