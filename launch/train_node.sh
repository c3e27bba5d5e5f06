#!/usr/bin/env bash
# The training processes of one node, ended in a way that a batch system can read:
#
#   exit 0   the run is finished
#   exit 75  it was asked to stop (SIGTERM) and has saved: start it again and it resumes
#   exit 143 it was asked to stop before there was anything to save
#   else     it failed
#
# torchrun ends with 1 for a saved run and a failed one alike, so the run's own status.json decides. Used by slurm/
# and k8s/.
#
#   RUN_DIR=/data/runs/mf bash launch/train_node.sh --nnodes=1 --nproc-per-node=2 launch/train.py --config ...
#
# RUN_DIR       the run's folder or URL, the same as run_dir=
# SAVE_SECONDS  how long the ranks may take to save after SIGTERM before torchrun kills them (100)
set -euo pipefail

: "${RUN_DIR:?set RUN_DIR to the folder or URL of the run}"
readonly SAVED=75

agent=
asked_to_stop=
# shellcheck disable=SC2329  # the trap below calls it
stop() {
    # Between torchrun's start and the line after it, only $! knows it.
    agent=${agent:-${!:-}}
    if [[ -z $agent ]]; then
        exit 143
    fi
    # Slurm signals every process of a step by itself, and a second SIGTERM makes torchrun leave its ranks behind.
    if [[ -z $asked_to_stop && -z ${SLURM_STEP_ID:-} ]]; then
        kill -TERM "$agent" || true
    fi
    asked_to_stop=yes
}
# As process 1 of a container, a shell without a trap would ignore the signal.
trap stop TERM

before=$(python launch/run_state.py "$RUN_DIR" 0)
torchrun --shutdown-timeout="${SAVE_SECONDS:-100}" "$@" &
agent=$!

# The trap interrupts a wait while the ranks are still at work; the last wait tells how torchrun ended.
while kill -0 "$agent" 2>/dev/null; do
    wait "$agent" || true
done
wait "$agent" && code=0 || code=$?

after=$(python launch/run_state.py "$RUN_DIR" 15)
# A "preempted" that stood there before may be an earlier attempt's: it counts only where this one was stopped too.
if [[ $after == preempted && ($before != preempted || -n $asked_to_stop) ]]; then
    echo "preempted and saved: start the same command again to resume $RUN_DIR"
    exit "$SAVED"
fi
exit "$code"
