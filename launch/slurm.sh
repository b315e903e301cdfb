#!/bin/bash
# A population on the GPUs of several nodes, one task of SLURM for each GPU. From the root of the repository, which
# every node sees under the same path, with its .venv (GPU extra installed) and the dataset:
#
#   sbatch launch/slurm.sh
#   sbatch --nodes=4 launch/slurm.sh --config.training.steps=20000     what follows goes to experiments.run
#
# The same command continues a run that was stopped. Two minutes before its time is over, or when the job is preempted
# with notice, the run saves and ends with code 75, and the job goes back into the queue by itself.
#SBATCH --job-name=macaw_jax
#SBATCH --output=slurm-%j.out
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --nodes=2
# One task for each GPU of a node. Every task must see all GPUs of its node, because JAX gives the task with local
# number i the GPU of number i: --gpus-per-node, not --gpus-per-task.
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8

CONFIG=configs/macaw.py
SEEDS=16    # members of the population; a multiple of SEED_AXIS
TASK_AXIS=1 # devices that share the tasks of one member's batch; divides the tasks of an update

set -euo pipefail
: "${SLURM_NTASKS:?start this with sbatch launch/slurm.sh}"
REQUEUE=75 # how experiments.run ends after SIGUSR1
SEED_AXIS=$((SLURM_NTASKS / TASK_AXIS)) # every GPU is in the mesh

# srun does not take over the number of cores, and one task that fails ends all: the others would wait for it.
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 \
  .venv/bin/python -m experiments.run \
  --config="$CONFIG" \
  --config.population.seeds="$SEEDS" \
  --config.devices.seed="$SEED_AXIS" \
  --config.devices.task="$TASK_AXIS" \
  --config.devices.distributed=true \
  "$@" && CODE=0 || CODE=$?
if [ "$CODE" -eq "$REQUEUE" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$CODE"
