"""Populations of every kind of source on two devices, of one process and of two, are those on one device."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest
from child_processes import run_together
from miniatures import STEPS, changed, results_of
from test_populations import assert_same_run

from experiments.run import run
from macaw_jax.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("compiled_once")

PROGRAM = Path(__file__).with_name("runs_on_devices.py")
SECONDS = 400  # Far above what a process takes; one that hangs is ended.


def run_children(data, place, kinds, environments):
  """Runs the program once for each environment, its index last where there are several."""
  kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "XLA_FLAGS"))}
  kept |= {"JAX_PLATFORMS": "cpu"}
  command = [sys.executable, str(PROGRAM), data, place, ",".join(kinds)]
  indices = [[str(index)] if len(environments) > 1 else [] for index in range(len(environments))]
  return run_together(
    [[*command, *index] for index in indices], [kept | variables for variables in environments], SECONDS
  )


def assert_same_population(place, expected):
  members = sorted(path.name for path in Path(expected).iterdir())
  assert sorted(path.name for path in place.iterdir()) == members
  assert len(members) == 4
  for name in members:
    assert_same_run(place / name, Path(expected) / name)
    assert results_of(place / name)["step"] == STEPS
    assert len(json.loads((place / name / "starts.json").read_text())) == 2


# Data that all members share, and data of their own; the third kind is laid out as the first.
@pytest.mark.parametrize("kinds", [("recorded", "replayed"), pytest.param(("on_policy",), marks=pytest.mark.slow)])
def test_two_devices_train_the_population_of_one(kinds, data, tmp_path, trained_population):
  (said,) = run_children(data, tmp_path, kinds, [{}])
  assert "the same command continues from update 2" in said
  for kind in kinds:
    assert_same_population(tmp_path / kind, trained_population(kind).config.output_directory)


@pytest.mark.parametrize("kinds", [("recorded",), pytest.param(("replayed", "on_policy"), marks=pytest.mark.slow)])
def test_two_processes_train_the_population_of_one(kinds, data, tmp_path, trained_population):
  """The first of them speaks for both, and both stop at the signal that the second has heard."""
  with socket.socket() as listener:
    listener.bind(("localhost", 0))
    port = listener.getsockname()[1]
  job = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
  job |= {"JAX_COORDINATOR_PORT": str(port), "JAX_COORDINATOR_BIND_ADDRESS": f"localhost:{port}"}
  environments = [job | {"SLURM_PROCID": each, "SLURM_LOCALID": each} for each in "01"]
  first, second = run_children(data, tmp_path, kinds, environments)
  assert "the same command continues from update 2" in first
  assert "seed" not in second
  for kind in kinds:
    assert_same_population(tmp_path / kind, trained_population(kind).config.output_directory)


def test_devices_that_are_not_there(kind, miniature, tmp_path):
  with pytest.raises(ConfigurationError, match=r"config\.devices: seed = 2 times task = 1 asks for 2 devices, found 1"):
    run(changed(miniature(kind, seeds=2), devices__seed=2))
  assert not (tmp_path / "run").exists()
