#!/usr/bin/env bash
# Every check and test, with its own set-up. Arguments go to pytest: bash tests/run.sh -k checkpoint
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh dev,s3,docs
PATH="$PWD/.venv/bin:$PATH"

# In a folder of their own: where they can be found, Dask and Arrow load them at every start.
readonly frames=.venv/frames
if [[ ! -d $frames ]]; then
    pip --quiet --disable-pip-version-check install --no-deps --target "$frames.new" \
        --constraint .venv/constraints.txt pandas polars polars-runtime-32
    mv "$frames.new" "$frames"
fi

# The server of MLflow brings pandas, and hides the client.
readonly mlflow=.venv/mlflow
if [[ ! -d $mlflow ]]; then
    pip --quiet --disable-pip-version-check install --no-deps --target "$mlflow.new" \
        --constraint .venv/constraints.txt mlflow pandas flask-cors graphene graphql-core graphql-relay huey
    mv "$mlflow.new" "$mlflow"
fi

failed=()
check() {
    echo "=== $*"
    "$@" || failed+=("$*")
}

check ruff format --check
check ruff check
check mypy
check lint-imports
check shellcheck .ci/run launch/*.sh launch/slurm/*.sbatch tests/run.sh
check hadolint docker/Dockerfile
# Warnings are errors (--quiet would hide them from --strict): links that lead nowhere, pages that load from elsewhere.
check env NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict
# DETAIL makes torch.distributed check that all ranks enter the same collective with the same shapes and types.
export TORCH_DISTRIBUTED_DEBUG=DETAIL
if (($# == 0)); then
    check env PYTHONPATH="$PWD/$frames" pytest --quiet tests/field_cases/test_data_frames.py
fi
check pytest --numprocesses=2 --dist=loadfile "$@"

if ((${#failed[@]})); then
    printf 'FAILED: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "all checks and tests passed"
