#!/bin/sh
# kill -9 in the middle of `access-log`, again and again, each time between the first and the last ack of that start: one
# half of the kills are of `topo run access-log`, the other of a program whose lines fail at first, so that replay is at
# work. After every kill each offset below the committed one must have its output; in the end every line of the input must
# be in topic `access` once, in order, and in `requests` or the dead letters. How many kills is the first argument.
#
#   tests/durability/kill-access-log.sh 500
#
# Each half prints its seed, which TOPO_TEST_SEED repeats, and in the end its figures.
set -eu
cd "$(dirname "$0")/../.."
TOPO_KILLS="${1:-500}" exec cargo test -p topo-command --test command kill_access_log:: -- --nocapture
