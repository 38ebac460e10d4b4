#!/bin/sh
# kill -9 of `topo broker` under load from clients of librdkafka, again and again: so many times of idempotent producers, so
# many times of transactions that read, write and commit offsets, and so many times of a topic that is compacted meanwhile.
# Whatever was acknowledged must be in the log at its offset, each producer's records in order and once; no committed offset
# may go back; a transaction must be there as a whole, with its offsets, or not at all; of a compacted topic the last record of
# each key must be there. How many kills is the first argument. Then once at each operation of the storage in fixed runs of each
# kind: before it, and with half of it done. TOPO_AT_ONCE says how many of these go on at once, 8 where it says nothing; how long
# a start takes is best told of one.
#
#   tests/durability/kill-broker.sh 1000
#
# Prints its seeds, which TOPO_TEST_SEED repeats, and in the end its figures.
set -eu
cd "$(dirname "$0")/../.."
TOPO_KILLS="${1:-1000}" TOPO_EVERY=1 exec cargo test -p topo-tests --test kills -- --nocapture --test-threads 1
