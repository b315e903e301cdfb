#!/bin/bash
# A population on all chips of a TPU slice. On a machine where gcloud is logged in:
#
#   TPU=my-slice ZONE=europe-west4-b DEVICES=16 launch/tpu_vm.sh
#   TPU=my-slice ZONE=europe-west4-b DEVICES=16 launch/tpu_vm.sh --config.training.steps=20000
#
# The slice exists, and every worker has the repository with its .venv (TPU extra installed) and the dataset in
# DIRECTORY. What follows goes to experiments.run on every worker. The same command continues a run that was stopped,
# if runs/, or --config.output_directory, is a folder that all workers share: each reads the checkpoints there.

TPU="${TPU:?name of the slice}"
ZONE="${ZONE:?its zone}"
DEVICES="${DEVICES:?what jax.device_count() says on it: its chips, or twice as many on TPU v2 and v3}"
DIRECTORY="${DIRECTORY:-macaw_jax}" # on the workers, from the home directory
CONFIG=configs/macaw.py
SEEDS=16    # members of the population; a multiple of SEED_AXIS
TASK_AXIS=1 # devices that share the tasks of one member's batch; divides the tasks of an update

set -euo pipefail
SEED_AXIS=$((DEVICES / TASK_AXIS)) # every chip is in the mesh

COMMAND=(
  .venv/bin/python -m experiments.run
  --config="$CONFIG"
  --config.population.seeds="$SEEDS"
  --config.devices.seed="$SEED_AXIS"
  --config.devices.task="$TASK_AXIS"
  --config.devices.distributed=true
  "$@"
)
# The same program on all workers at once; JAX learns from the machine which of them it is on. %q keeps each argument
# one argument in the shell of the worker.
gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all \
  --command="cd $(printf '%q' "$DIRECTORY") && $(printf '%q ' "${COMMAND[@]}")"
