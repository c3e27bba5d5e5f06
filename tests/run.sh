#!/usr/bin/env bash
# Every check and test, with its own set-up. Arguments go to pytest: bash tests/run.sh -k checkpoint
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup.sh dev,s3
PATH="$PWD/.venv/bin:$PATH"

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
# DETAIL makes torch.distributed check that all ranks enter the same collective with the same shapes and types.
export TORCH_DISTRIBUTED_DEBUG=DETAIL
check pytest --numprocesses=2 --dist=loadfile "$@"

if ((${#failed[@]})); then
    printf 'FAILED: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "all checks and tests passed"
