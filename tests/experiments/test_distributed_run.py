"""A population on several devices, and in two processes, from the command line."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.interruption import EXIT_CODES
from macaw_jax.training.metrics import read_rows

REPOSITORY = Path(__file__).parents[2]
SECONDS = 400  # Far above what a process takes; one that hangs is ended.


@pytest.fixture
def config_file(point_robot_directory, tmp_path):
  """A configuration file of the miniature."""
  file = tmp_path / "miniature_config.py"
  file.write_text(
    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    "from miniature_run import make_miniature\n"
    "def get_config():\n"
    f"  return make_miniature({str(point_robot_directory)!r}, '-').unlock()\n"
  )
  return file


def start(config_file, output, *flags, **variables):
  kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "XLA_FLAGS"))}
  environment = kept | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"} | variables
  command = [sys.executable, "-m", "experiments.run", f"--config={config_file}", f"--config.output_directory={output}"]
  return subprocess.Popen(
    [*command, "--config.population.seeds=2", *flags],
    env=environment,
    cwd=REPOSITORY,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(*processes, code=0):
  """What the processes printed; ends those that are left when the time is over. All must end with `code`."""
  end = time.monotonic() + SECONDS
  try:
    printed = [process.communicate(timeout=max(1.0, end - time.monotonic())) for process in processes]
  finally:
    for process in processes:
      if process.poll() is None:
        process.kill()
        process.wait()
  for process, (_, errors) in zip(processes, printed, strict=True):
    assert process.returncode == code, errors
  return [shown for shown, _ in printed]


def free_port():
  with socket.socket() as listener:
    listener.bind(("localhost", 0))
    return listener.getsockname()[1]


def losses(directory):
  return [[row[name] for name in ("policy_loss", "value_loss")] for row in read_rows(directory) if "value_loss" in row]


def test_two_processes_train_the_population_of_one(config_file, tmp_path):
  finish(start(config_file, tmp_path / "one"))
  job = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
  flags = ("--config.devices.seed=2", "--config.devices.distributed=true")

  def both():
    port = free_port()
    job["JAX_COORDINATOR_PORT"], job["JAX_COORDINATOR_BIND_ADDRESS"] = str(port), f"localhost:{port}"
    return [
      start(config_file, tmp_path / "two", *flags, **job, SLURM_PROCID=process, SLURM_LOCALID=process)
      for process in ("0", "1")
    ]

  # A signal to one of them stops both, at the same update.
  first, second = both()
  while not (line := first.stdout.readline()).startswith("step 10/40"):
    assert line, first.stderr.read()
  second.send_signal(signal.SIGTERM)
  shown, _ = finish(first, second, code=EXIT_CODES[signal.SIGTERM])
  assert "the same command continues from update" in shown

  first, second = finish(*both())
  assert "| macaw | " in first
  assert "seed" not in second  # The first process speaks for both.
  for seed in ("0", "1"):
    expected, found = (losses(tmp_path / name / seed / "metrics.jsonl") for name in ("one", "two"))
    assert len(found) == 4
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert json.loads((tmp_path / "two" / seed / "results.json").read_text())["step"] == 40
    assert len(json.loads((tmp_path / "two" / seed / "starts.json").read_text())) == 2

  again, _ = finish(*both())
  assert "continuing from the checkpoint of update 40" in again


def test_a_run_on_four_devices(config_file, tmp_path):
  finish(
    start(
      config_file,
      tmp_path / "four",
      "--config.devices.seed=2",
      "--config.training.tasks_per_update=2",
      "--config.devices.task=2",
      XLA_FLAGS="--xla_force_host_platform_device_count=4",
    )
  )
  assert len(losses(tmp_path / "four" / "1" / "metrics.jsonl")) == 4


def test_devices_that_are_not_there(config_file, tmp_path):
  process = start(config_file, tmp_path / "run", "--config.devices.seed=2")
  _, errors = process.communicate(timeout=SECONDS)
  assert process.returncode == 2
  assert errors.startswith("error: config.devices: seed = 2 times task = 1 asks for 2 devices, found 1")
  process = start(config_file, tmp_path / "run", "--config.devices.distributed=true")
  _, errors = process.communicate(timeout=SECONDS)
  assert process.returncode == 2
  assert "expected a process that SLURM's srun" in errors
  assert not (tmp_path / "run").exists()
