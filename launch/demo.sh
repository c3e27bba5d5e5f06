#!/usr/bin/env bash
# The whole pipeline on real ratings (MovieTweetings 100K): prepare with Dask, train two models on two ranks each,
# merge, evaluate, recommend. Installs what it needs into .venv; results go to runs/demo.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh
PATH="$PWD/.venv/bin:$PATH"

readonly data=tests/data/movietweetings demo=runs/demo
rm -rf "$demo"
mkdir -p "$demo"

run() {
    printf '\n$ %s\n' "$*" >&2
    "$@"
}

# Both ranks run on one machine: each uses half of the cores.
cores=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=$((cores > 1 ? cores / 2 : 1))

run recsys-dist prepare --config configs/prepare_movietweetings.yaml \
    "input.paths=[$data/ratings.dat.gz]" "items.paths=[$data/movies.dat.gz]" "output=$demo/dataset"
for model in mf autorec_item; do
    run torchrun --standalone --nproc_per_node=2 launch/train.py --config "configs/$model.yaml" \
        "dataset=$demo/dataset" "run_dir=$demo/$model"
    run recsys-dist merge "$demo/$model" --output "$demo/$model/model"
    run recsys-dist evaluate "$demo/$model/model" --dataset "$demo/dataset" \
        --output "$demo/$model/report.json" >"$demo/$model/report.txt"
done
echo
python launch/demo_table.py "$demo/mf" "$demo/autorec_item"
run recsys-dist recommend "$demo/mf/model" --user 2850 --user 8822 --top 10 --dataset "$demo/dataset"
