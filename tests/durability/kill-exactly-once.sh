#!/bin/sh
# kill -9 in the middle of `topo run word-count --delivery exactly-once`, again and again, at any time from the start of the
# process on: after every kill, and in the end, what is committed to `counts` is 1, 2, 3 and so on for every word, and in the
# end as often as it was written; and with `--emit batch` what each word had come to at the committed offset. How many kills of
# each is the first argument. Then the same at a `topo broker`, which takes a third of the kills itself; how many these are is
# the second argument. The group of a topology waits some ten seconds for a member
# that was killed, so these take longer.
#
#   tests/durability/kill-exactly-once.sh 200 20
#
# Prints its seeds, which TOPO_TEST_SEED repeats, and in the end its figures.
set -eu
cd "$(dirname "$0")/../.."
TOPO_KILLS="${1:-200}" TOPO_BROKER_KILLS="${2:-20}" \
    exec cargo test -p topo-command --test command -- --nocapture --test-threads 1 kill_exactly_once:: kill_per_batch::
