#!/usr/bin/env bash
# A search on the nodes of a Slurm job; see README.md.
#
#   RUN=/shared/runs/mine sbatch --nodes=4 experiments/cluster/slurm.sh \
#       mine.yaml --data /shared/images
#
# RUN is the run's folder, on a file system that all nodes share. The arguments are those of
# `shiftsearch search`. The job puts itself back into the queue when its time is up (exit code 75)
# and continues the run. To stop it in order: scancel --signal=TERM --batch JOBID
#
#SBATCH --job-name=shiftsearch
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

: "${RUN:?set RUN to the folder of the run, on a shared file system}"
: "${SLURM_JOB_ID:?start this script with sbatch}"

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
# Short, because the path of a socket in it may have 107 bytes.
folder=/tmp/r$SLURM_JOB_ID
resources=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")

# Only processes of this job can use its cluster.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
unset RAY_AUTH_TOKEN_PATH RAY_ADDRESS

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | awk 'NR == 1')
ip=${HEAD_IP:-$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname -I | awk '{print $1}')}
address=$ip:$port
search=(shiftsearch search "$@" --run "$RUN" --address "$address")
driver= signalled=0

# Slurm sends SIGTERM to this script alone: the driver ends in order while Ray still runs.
forward() {
  signalled=1
  [ -z "$driver" ] || kill -TERM "$driver" 2>/dev/null || true
}
trap forward TERM INT

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

# Out of time, or stopped by a fault of a machine (75): the run goes on in the job's next turn.
finish() {
  [ "$1" -ne 75 ] || scontrol requeue "$SLURM_JOB_ID" || true
  exit "$1"
}

if [ "${SYMMETRIC:-0}" = 1 ]; then
  # One command on all nodes; Ray waits for the others. It ends with `ray stop`, which also ends
  # your other Rays on these nodes: ask for whole nodes (--exclusive).
  export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 RAY_ADDRESS=$address
  srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    "${fixed_ports[@]}" "${resources[@]}" -- "${search[@]}" &
  driver=$!
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
  trap 'kill "${rays[@]}" 2>/dev/null || true; wait' EXIT
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
  if [ "$signalled" = 1 ]; then
    finish 75
  elif [ "$ended" -ne 0 ] || kill -0 "$ready" 2>/dev/null; then
    echo "Ray did not start on all $SLURM_JOB_NUM_NODES nodes within 300 s; see above" >&2
    kill "$ready" 2>/dev/null || true
    exit 1
  fi
  "${search[@]}" &
  driver=$!
fi

code=0
await || code=$?
finish "$code"
