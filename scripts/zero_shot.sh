#!/bin/sh
# Every zero-shot reranker on the same 30 queries and their 20 best BM25 candidates, then one table of them all.
# scripts/zero_shot.sh COLLECTION [FOLDER]: a folder in BEIR layout; where the runs go (runs/zero_shot). About an hour on
# two cores. Each has a store of its own, so that its cost is its own. A run that is there already is not run again.
set -eu
collection=$1
out=${2:-runs/zero_shot}

one() {
    name=$1
    shift
    rerankbench eval benchmark=local "benchmark.path=$collection" benchmark.queries=30 reranker.depth=20 \
        "reranker=$name" tracking=none "run_dir=$out/$name" "store.dir=$out/.stores/$name" "$@" >"$out/$name.txt" 2>&1 ||
        echo "$name failed; see $out/$name.txt" >&2
}

mkdir -p "$out"
for name in identity bi_encoder late_interaction multivector prf_text prf_vector cascade query_likelihood yes_no \
    expected_rating first icr e2rank rankgpt insertrank tourrank setwise_heapsort setwise_bubblesort prp_heapsort; do
    one $name
done
# A small model fills whatever room its reasoning is given.
one grouprank reranker.scorer.new_tokens=256
one rank_r1 reranker.scorer.new_tokens=128
one rank1 reranker.scorer.new_tokens=32
one prp_bubblesort
one prp_allpairs
python "$(dirname "$0")/table.py" "$out"/*/
