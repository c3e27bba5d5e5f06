#!/usr/bin/env bash
# Run the training processes of one node; the exit code tells a batch system how they ended:
#
#   exit 0   the run is finished
#   exit 75  the run was asked to stop (SIGTERM) and has saved; started again, it resumes
#   exit 143 the run was asked to stop before there was anything to save
#   else     the run failed
#
# torchrun exits with 1 both for a saved run and for a failed one, so the run's own status.json decides. Used by
# slurm/ and k8s/.
#
#   RUN_DIR=/data/runs/mf bash launch/train_node.sh --nnodes=1 --nproc-per-node=2 launch/train.py --config ...
#
# On several nodes, the same command on each, with its own --node-rank (under Slurm it is set from the node number):
#
#   ... train_node.sh --nnodes=2 --node-rank=0 --master-addr=FIRST_NODE --master-port=29500 --nproc-per-node=2 ...
#
# RUN_DIR        the run's folder or URL, the same as run_dir=; on storage that all nodes share
# SAVE_SECONDS   time for the ranks to save after SIGTERM before torchrun kills them (100)
# END_SECONDS    time for torchrun to end after the last of its ranks has ended (60)
# START_SECONDS  time for torchrun to start the first of its ranks (900)
#
# A rank that has lost its peers ends by itself within training.timeout_s and some seconds. torchrun has no such
# limit: if another node has lost its network, torchrun may wait for that node forever and block its own node (with
# --rdzv-backend=c10d at any time, with the default, static, only at its start or after success).
set -euo pipefail

: "${RUN_DIR:?set RUN_DIR to the folder or URL of the run}"
readonly SAVED=75
readonly LOOK_SECONDS=2 KILL_SECONDS=10

agent=
asked_to_stop=
# shellcheck disable=SC2329  # the trap below calls it
stop() {
    # Between torchrun's start and the line after it, only $! has its process id.
    agent=${agent:-${!:-}}
    if [[ -z $agent ]]; then
        exit 143
    fi
    # Slurm itself signals every process of a step, and a second SIGTERM makes torchrun abandon its ranks.
    if [[ -z $asked_to_stop && -z ${SLURM_STEP_ID:-} ]]; then
        kill -TERM "$agent" || true
    fi
    asked_to_stop=yes
}
# As process 1 of a container, a shell without a trap ignores the signal.
trap stop TERM
# Ctrl-C reaches torchrun directly; without a trap this script would end first.
trap 'asked_to_stop=yes' INT

# Whether any process that torchrun has started is running. An ended one that is not yet reaped is a zombie.
has_ranks() {
    local stat line
    if [[ ! -r /proc/self/stat ]]; then
        return 0
    fi
    for stat in /proc/[0-9]*/stat; do
        # PID (NAME) STATE PARENT ...; a name may contain anything.
        if { read -r line <"$stat"; } 2>/dev/null && [[ ${line##*) } == [!ZX]" $agent "* ]]; then
            return 0
        fi
    done
    return 1
}

# End torchrun if it has had no ranks for longer than allowed. SIGTERM has no effect while it waits for an answer from
# the network, so SIGKILL follows.
limit=${START_SECONDS:-900}
gave_up=
end_if_left_alone() {
    local alone
    if has_ranks; then
        limit=${END_SECONDS:-60}
        last_seen=$SECONDS
        return
    fi
    alone=$((SECONDS - last_seen))
    if ((alone >= limit + KILL_SECONDS)); then
        kill -KILL "$agent" 2>/dev/null || true
    elif ((alone >= limit)) && [[ -z $gave_up ]]; then
        gave_up=yes
        echo "train_node.sh: torchrun has had no running rank for $alone s and waits for other nodes: ending it" >&2
        kill -TERM "$agent" 2>/dev/null || true
    fi
}

before=$(python launch/run_state.py "$RUN_DIR" 0)
# The number of this node within the Slurm job; torchrun uses it if there is no --node-rank.
export PET_NODE_RANK="${PET_NODE_RANK:-${SLURM_NODEID:-0}}"
torchrun --shutdown-timeout="${SAVE_SECONDS:-100}" "$@" &
agent=$!

# The trap interrupts a pause while the ranks still work; the last wait returns the exit code of torchrun.
last_seen=$SECONDS
next_look=$SECONDS
while kill -0 "$agent" 2>/dev/null; do
    sleep 0.5 >/dev/null 2>&1 &
    wait "$!" || true
    if ((SECONDS >= next_look)); then
        end_if_left_alone
        next_look=$((SECONDS + LOOK_SECONDS))
    fi
done
wait "$agent" && code=0 || code=$?

after=$(python launch/run_state.py "$RUN_DIR" 15)
# A "preempted" from before may belong to an earlier attempt: it counts only if this one was stopped too.
if [[ $after == preempted && ($before != preempted || -n $asked_to_stop) ]]; then
    echo "preempted and saved: start the same command again to resume $RUN_DIR"
    exit "$SAVED"
fi
if [[ -n $gave_up ]]; then
    # torchrun was killed, and with it the exit code of the ranks.
    [[ $after == finished && $before != finished ]] && exit 0
    exit 1
fi
exit "$code"
