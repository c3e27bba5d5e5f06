#!/usr/bin/env bash
# The whole pipeline on real ratings (MovieTweetings 100K): prepare with Dask, train two models that predict ratings and
# two that rank, each on two ranks, merge, blend, evaluate, recommend. Installs what it needs into .venv; results
# go to runs/demo.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh
PATH="$PWD/.venv/bin:$PATH"

readonly data=tests/data/movietweetings demo=runs/demo
readonly models=$demo/models
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
for model in mf autorec_item ials ease; do
    run torchrun --standalone --nproc_per_node=2 launch/train.py --config "configs/$model.yaml" \
        "dataset=$demo/dataset" "run_dir=$demo/$model"
    run recsys-dist merge "$demo/$model" --output "$models/$model"
done
run recsys-dist blend "$models/mf" "$models/autorec_item" --for ratings --dataset "$demo/dataset" \
    --output "$models/ratings"
run recsys-dist blend "$models/ease" "$models/ials" "$models/mf" --for lists --dataset "$demo/dataset" \
    --output "$models/lists"
run recsys-dist evaluate "$models"/{mf,autorec_item,ials,ease,ratings,lists} --dataset "$demo/dataset" \
    --output "$demo/report.json" >"$demo/report.txt"
echo
python launch/demo_table.py "$demo"
run recsys-dist recommend "$models/lists" --user 2850 --user 8822 --top 10 --dataset "$demo/dataset"
cat <<END

The dataset: $demo/dataset
The models:  $models/{mf,autorec_item,ials,ease,ratings,lists}; the last two are blends
All figures: $demo/report.json, $demo/report.txt
END
