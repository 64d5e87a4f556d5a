#!/usr/bin/env bash
# A search on the nodes of a Slurm job; see README.md. Change what is marked CHANGE.
#
#   RUN=/shared/runs/mine sbatch --nodes=4 experiments/cluster/slurm.sh \
#       mine.yaml --data /shared/images
#
# The arguments are those of `shiftsearch search`. Activate the environment that has `shiftsearch`
# and `ray` before sbatch: a job begins with its variables. Variables of this script:
#
#   RUN=DIR        the run's folder, on a file system that all nodes share. With --storage, a name
#                  without a slash is a folder on the node's own disk, made anew in each turn
#   RESTARTS=20    how often at most the job puts itself back into the queue
#   DOCTOR=1       `shiftsearch doctor` first, which checks all nodes; a failed check ends the job
#   HEAD_IP=...    the first node's address, if `hostname -I` there names another network first
#   KEEP_LOGS=1    keep /tmp/rJOBID, with Ray's logs, on the nodes
#   SYMMETRIC=1    `ray symmetric-run` starts Ray
#
# The job puts itself back into the queue when its time is up or a machine failed (exit code 75), and
# continues the run. To end the search for good, with its result:  shiftsearch stop RUN
# To interrupt it and not queue it again:                          scancel --signal=INT --batch JOBID
#
#SBATCH --job-name=shiftsearch
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
# CHANGE: the CPUs of a node, and its GPUs. Without GPUs, remove the second line.
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
# CHANGE: as your partition allows; add --partition and --account if they are needed.
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

: "${RUN:?set RUN to the folder of the run, on a shared file system}"
: "${SLURM_JOB_ID:?start this script with sbatch}"
for needed in shiftsearch ray python3; do
  if ! command -v "$needed" >/dev/null; then
    echo "$needed is not on PATH: activate its environment before sbatch" >&2
    exit 2
  fi
done

# Nodes may be shared with other jobs. So every port and folder depends on the job's number: blocks
# of 120 ports from 10000 to 29199, below those that Linux hands out by itself.
first=$((10000 + SLURM_JOB_ID % 160 * 120))
port=$first
fixed_ports=(
  --node-manager-port=$((first + 1))
  --object-manager-port=$((first + 2))
  --runtime-env-agent-port=$((first + 3))
  --dashboard-agent-listen-port=$((first + 4))
  --dashboard-agent-grpc-port=$((first + 5))
  --metrics-export-port=$((first + 6))
  --min-worker-port=$((first + 10))
  --max-worker-port=$((first + 119))
)
# Short, because the path of a socket in it may have 107 bytes. It may be left from an earlier turn.
folder=/tmp/r$SLURM_JOB_ID
rm -rf -- "$folder"
mkdir -m 700 -- "$folder"
resources=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")
# From Slurm 22.05 on, srun does not take over the --cpus-per-task of sbatch.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

# Only processes of this job can use its cluster.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0 # or Ray sends statistics of its own
unset RAY_AUTH_TOKEN_PATH RAY_ADDRESS

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | awk 'NR == 1')
ip=${HEAD_IP:-$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname -I | awk '{print $1}')}
address=$ip:$port

# Of the arguments, those that the doctor takes too; the first may be the experiment.
shared=(--address "$address") stored=0 previous=
case ${1:--} in -*) ;; *) shared=("$1" "${shared[@]}") ;; esac
for argument in "$@"; do
  case $previous in --data | --storage) shared+=("$previous" "$argument") ;; esac
  case $argument in --data=* | --storage=*) shared+=("$argument") ;; esac
  case $argument in --storage | --storage=*) stored=1 ;; esac
  previous=$argument
done
# What the bucket has is newer than what an earlier turn left on this node, and goes on.
if [ "$stored" = 1 ] && [ "${RUN#*/}" = "$RUN" ]; then RUN=$folder/$RUN; fi
shared+=(--run "$RUN")
doctor=(shiftsearch doctor "${shared[@]}")
search=(shiftsearch search "$@" --run "$RUN" --address "$address")
[ "${DOCTOR:-0}" = 1 ] || doctor=(true)
driver='' signalled=0 stopped=0 restarts=${RESTARTS:-20}
rays=()

# Slurm sends SIGTERM to this script alone: the driver ends in order while Ray still runs. Under
# symmetric-run the driver's number is in a file, because a signal to srun would end Ray as well.
forward() {
  signalled=1 stopped=1
  local target=$driver
  [ ! -s "$folder/search.pid" ] || target=$(<"$folder/search.pid")
  [ -z "$target" ] || kill -TERM "$target" 2>/dev/null || true
}
trap forward TERM
trap 'restarts=0; forward' INT

# The driver's exit code. `wait` also returns when a signal comes, while the driver still writes.
await() {
  local code=0
  wait "$driver" || code=$?
  while [ "$code" -gt 128 ] && [ "$signalled" = 1 ]; do
    signalled=0 code=0
    wait "$driver" || code=$?
  done
  return "$code"
}

# End Ray, and remove this job's folder on all nodes: first, because a requeue may kill this script.
clean() {
  trap - EXIT
  [ "${#rays[@]}" = 0 ] || kill "${rays[@]}" 2>/dev/null || true
  wait
  [ "${KEEP_LOGS:-0}" != 1 ] || return 0
  timeout 60 srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --overlap \
    rm -rf -- "$folder" || true
}
trap clean EXIT

# Out of time, or stopped by a fault of a machine (75, or killed): the run goes on in the job's next
# turn.
finish() {
  local code=$1 turn=${SLURM_RESTART_COUNT:-0}
  if [ "$code" -gt 128 ]; then code=75; fi
  clean
  if [ "$code" -eq 75 ] && [ "$turn" -lt "$restarts" ]; then
    scontrol requeue "$SLURM_JOB_ID" || true
  elif [ "$code" -eq 75 ]; then
    echo "not queued again (restarts: $turn); the same sbatch continues the run" >&2
  fi
  exit "$code"
}

# One command as the driver; returns if it ends with 0.
run() {
  [ "$stopped" = 0 ] || finish 75
  "$@" &
  driver=$!
  # A signal that came while it was started.
  [ "$stopped" = 0 ] || kill -TERM "$driver" 2>/dev/null || true
  local code=0
  await || code=$?
  [ "$code" = 0 ] || finish "$code"
}

if [ "${SYMMETRIC:-0}" = 1 ]; then
  # One command on all nodes; Ray waits for the others. It ends with `ray stop`, which also ends
  # your other Rays on these nodes: ask for whole nodes (--exclusive). It ends with 0 if Ray did not
  # start, so the exit code of the search is read from a file.
  export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 RAY_ADDRESS=$address
  printf -v check '%q ' "${doctor[@]}"
  srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --temp-dir="$folder" "${fixed_ports[@]}" "${resources[@]}" -- \
    bash -c '
      folder=$1 check=$2 code=0
      shift 2
      { eval "$check" && exec "$@"; } &
      echo $! >"$folder/search.pid"
      wait $! || code=$?
      echo $code >"$folder/search.code"
      exit $code' search "$folder" "$check" "${search[@]}" &
  driver=$!
  await || true
  if [ -s "$folder/search.code" ]; then
    finish "$(<"$folder/search.code")"
  fi
else
  srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    ray start --head --block --node-ip-address="$ip" --port="$port" --temp-dir="$folder" \
    --include-dashboard=false --ray-client-server-port=$((first + 7)) \
    "${fixed_ports[@]}" "${resources[@]}" &
  rays=($!)
  if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    # `ray start` itself waits until the head answers.
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) \
      --exclude="$head" --overlap \
      ray start --block --address="$address" --temp-dir="$folder" \
      "${fixed_ports[@]}" "${resources[@]}" &
    rays+=($!)
  fi
  timeout 300 python3 - "$address" "$SLURM_JOB_NUM_NODES" <<'PYTHON' &
import logging
import sys
import time

import ray

while True:
    try:
        ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
        break
    except Exception:  # the head does not answer yet
        time.sleep(2)
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    time.sleep(1)
PYTHON
  ready=$!
  ended=0
  wait -n "${rays[@]}" "$ready" || ended=$?
  if [ "$ended" -eq 0 ] && ! kill -0 "$ready" 2>/dev/null; then
    run "${doctor[@]}"
    run "${search[@]}"
    finish 0
  fi
  kill "$ready" 2>/dev/null || true
fi

if [ "$stopped" = 0 ]; then
  echo "Ray did not start on all $SLURM_JOB_NUM_NODES nodes within 300 s; see above" >&2
fi
finish 75
