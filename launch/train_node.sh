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
# On several nodes, the same on each but for --node-rank (under Slurm its number of the node stands for it):
#
#   ... train_node.sh --nnodes=2 --node-rank=0 --master-addr=FIRST_NODE --master-port=29500 --nproc-per-node=2 ...
#
# RUN_DIR        the run's folder or URL, the same as run_dir=; on storage that all nodes share
# SAVE_SECONDS   how long the ranks may take to save after SIGTERM before torchrun kills them (100)
# END_SECONDS    how long torchrun may go on once the last of its ranks has ended (60)
# START_SECONDS  how long torchrun may take to start the first of its ranks (900)
#
# A rank whose peers are gone ends by itself within training.timeout_s and some seconds. torchrun has no such limit:
# where another node has lost its network it may wait for that node's answer for good (with --rdzv-backend=c10d while
# it runs, with the default, static, only when it starts or has succeeded), and would keep its own node with it.
set -euo pipefail

: "${RUN_DIR:?set RUN_DIR to the folder or URL of the run}"
readonly SAVED=75
readonly LOOK_SECONDS=2 KILL_SECONDS=10

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
# Ctrl-C reaches torchrun by itself; without a trap this script would end before it.
trap 'asked_to_stop=yes' INT

# Whether a process that torchrun has started runs. One that has ended and that it has not collected is a zombie.
has_ranks() {
    local stat line
    if [[ ! -r /proc/self/stat ]]; then
        return 0
    fi
    for stat in /proc/[0-9]*/stat; do
        # PID (NAME) STATE PARENT ..., and a name may hold anything.
        if { read -r line <"$stat"; } 2>/dev/null && [[ ${line##*) } == [!ZX]" $agent "* ]]; then
            return 0
        fi
    done
    return 1
}

# End torchrun where it has been without ranks for longer than it may. SIGTERM does not reach one that waits for an
# answer from the network.
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
        echo "train_node.sh: torchrun has had no running rank for $alone s, and waits for other nodes: ending it" >&2
        kill -TERM "$agent" 2>/dev/null || true
    fi
}

before=$(python launch/run_state.py "$RUN_DIR" 0)
# Slurm's number of this node within the job; torchrun takes it where it is given no --node-rank.
export PET_NODE_RANK="${PET_NODE_RANK:-${SLURM_NODEID:-0}}"
torchrun --shutdown-timeout="${SAVE_SECONDS:-100}" "$@" &
agent=$!

# The trap interrupts a pause while the ranks are still at work; the last wait tells how torchrun ended.
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
# A "preempted" that stood there before may be an earlier attempt's: it counts only where this one was stopped too.
if [[ $after == preempted && ($before != preempted || -n $asked_to_stop) ]]; then
    echo "preempted and saved: start the same command again to resume $RUN_DIR"
    exit "$SAVED"
fi
if [[ -n $gave_up ]]; then
    # How the ranks ended went with torchrun.
    [[ $after == finished && $before != finished ]] && exit 0
    exit 1
fi
exit "$code"
