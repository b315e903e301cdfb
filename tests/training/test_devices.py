"""A population on many devices is the population on one device, and each device has its share of the work."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from child_processes import ROOT, run_together
from sharded_population import CALLS, MEMBERS, MESHES, SUPPORT, TASKS_PER_UPDATE, UPDATES_PER_CALL

from macaw_jax.training import devices

PROGRAM = pathlib.Path(__file__).with_name("sharded_population.py")
SECONDS = 400  # Far above what a child takes; one that hangs is ended.
MESH_NAMES = [f"{seed}x{task}" for seed, task in MESHES]

# float32 has a relative rounding of 6e-8. Splitting a sum over tasks or members changes its order, and six updates of
# Adam carry that along. Seen: parameters differ by 2e-7, where they have moved by 5e-3; any array of the state by 6e-6
# of its largest number; losses by 3e-7 of themselves. In float64 parameters differ by 5e-16.
PARAMETERS_APART, STATE_APART, METRICS_APART = 1e-5, 2e-4, 2e-5


def environment(**changes):
  """That of a child: no scheduler, no proxy, its own number of devices."""
  dropped = ("SLURM_", "OMPI_", "JAX_COORDINATOR", "XLA_FLAGS")
  kept = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(dropped) and not name.lower().endswith("_proxy")
  }
  return kept | {"JAX_PLATFORMS": "cpu"} | changes


def free_port():
  with socket.socket() as listener:
    listener.bind(("localhost", 0))
    return listener.getsockname()[1]


def run_children(environments, *arguments):
  """Runs the program once for each environment, its index last; ends those that are left when the time is over."""
  command = [sys.executable, str(PROGRAM), *map(str, arguments)]
  run_together([[*command, str(index)] for index in range(len(environments))], environments, SECONDS)


def read(directory, name):
  """What a child wrote: trees of arrays as lists, and facts."""
  with np.load(directory / f"{name}.npz") as file:
    trees = {
      tree: [file[key] for key in file.files if key.startswith(f"{tree}_")] for tree in ("initial", "state", "metrics")
    }
  return trees | json.loads((directory / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def results(tmp_path_factory):
  """The runs of one process, by mesh; `none` for the one without."""
  directory = tmp_path_factory.mktemp("meshes")
  run_children([environment()], "meshes", directory)
  return {name: read(directory, name) for name in ("none", *MESH_NAMES, "skips_none", "skips_2x2")}


def parameters(result):
  """Parameters come first in a state."""
  return result["state"][: len(result["initial"])]


def assert_same_run(actual, expected):
  """The same parameters, optimiser and metrics within rounding, after parameters have moved much further."""
  for got, start in zip(parameters(expected), expected["initial"], strict=True):
    assert got.shape[0] == start.shape[0] == MEMBERS
  moved = [np.abs(got - start).max() for got, start in zip(parameters(expected), expected["initial"], strict=True)]
  assert np.median(moved) > 100 * PARAMETERS_APART
  for got, want in zip(actual["initial"], expected["initial"], strict=True):
    np.testing.assert_array_equal(got, want)
  for got, want in zip(parameters(actual), parameters(expected), strict=True):
    np.testing.assert_allclose(got, want, rtol=0, atol=PARAMETERS_APART)
  for got, want in zip(actual["state"], expected["state"], strict=True):
    np.testing.assert_allclose(got, want, rtol=0, atol=STATE_APART * np.abs(want).max())
  for got, want in zip(actual["metrics"], expected["metrics"], strict=True):
    assert want.shape == (MEMBERS,)
    np.testing.assert_allclose(got, want, rtol=METRICS_APART, atol=METRICS_APART)
  assert np.all(actual["state"][-1] == CALLS * UPDATES_PER_CALL)  # the last leaf is the number of updates


@pytest.mark.parametrize("mesh", MESH_NAMES)
def test_sharded_run_is_the_unsharded_one(results, mesh):
  assert_same_run(results[mesh], results["none"])


@pytest.mark.parametrize(("seed", "task"), MESHES)
def test_each_device_holds_its_share_and_no_more(results, seed, task):
  result, share = results[f"{seed}x{task}"], MEMBERS // seed
  first_member = [share * (device // task) for device in range(4)]
  for shards in result["shares_before"]:
    assert [shape[0] for shape, _ in shards] == [share] * 4
    assert [first for _, first in shards] == first_member
  for shards in result["shares_of_batch"]:
    for shape, _ in shards:
      assert shape[:2] == [share, TASKS_PER_UPDATE // task]
      assert shape[2:3] in ([SUPPORT], [])  # task_index has no rows
  for shards in result["shares_of_dataset"]:
    assert len({json.dumps(shard) for shard in shards}) == 1


@pytest.mark.parametrize("mesh", MESH_NAMES)
def test_state_stays_where_it_is_through_calls_without_a_copy_or_a_new_trace(results, mesh):
  result = results[mesh]
  assert result["traces"] == 1
  assert result["donated"]
  assert result["laid_out_as_before"]
  assert result["shares_after"] == result["shares_before"]


def test_gradients_cross_the_task_axis_and_nothing_but_a_flag_crosses_the_seed_axis(results):
  # The flag is that of the sampler's loop, which goes on until the rows of the last member are drawn.
  assert results["4x1"]["communicated"] == {"pred": 1}
  for mesh in ("1x4", "2x2"):
    assert results[mesh]["communicated"]["f32"] > 0


def test_work_of_a_device_falls_with_the_number_of_devices(results):
  # Along `task`, what does not depend on a task (Adam, the generator of the weights) is done on every device.
  flops = {name: results[name]["flops"] / results["none"]["flops"] for name in MESH_NAMES}
  assert flops["4x1"] < 0.27
  assert flops["2x2"] < 0.45
  assert flops["1x4"] < 0.7


def assert_same_skips(actual, expected):
  """The same updates skipped, members stopped and numbers, by the same two programs."""
  assert expected["skips"]["in_a_row"][1] == expected["skips"]["total"][1] == 3
  assert min(expected["skips"]["total"]) > 0
  assert actual["skips"] == expected["skips"]
  assert actual["compiled"] == expected["compiled"] == ["Population", "Attempt"]
  assert actual["laid_out_as_before"]
  for got, want in zip(actual["state"] + actual["metrics"], expected["state"] + expected["metrics"], strict=True):
    np.testing.assert_allclose(got, want, rtol=METRICS_APART, atol=METRICS_APART)


def test_updates_are_skipped_on_a_mesh_as_without(results):
  assert_same_skips(results["skips_2x2"], results["skips_none"])


def test_two_processes_end_where_one_does(results, tmp_path):
  """Tasks lie on the devices of both: their gradients are summed over processes."""
  port = free_port()
  job = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
  job |= {"JAX_COORDINATOR_BIND_ADDRESS": f"localhost:{port}", "JAX_COORDINATOR_PORT": str(port)}
  run_children([environment(**job, SLURM_PROCID=each, SLURM_LOCALID=each) for each in "01"], "processes", tmp_path)

  first, second = (read(tmp_path, f"processes_{index}") for index in (0, 1))
  for got, want in zip(first["state"] + first["metrics"], second["state"] + second["metrics"], strict=True):
    np.testing.assert_array_equal(got, want)
  assert_same_run(first, results["none"])
  assert (first["main"], second["main"]) == (True, False)
  for result, shards in ((first, slice(0, 2)), (second, slice(2, 4))):
    assert result["devices"] == [2, 4]
    assert result["shares_after"] == [leaf[shards] for leaf in results["1x4"]["shares_after"]]
    assert result["traces"] == 1
    assert result["donated"]
    assert result["laid_out_as_before"]
    assert "seed = 1 times task = 2" in result["error_of_unused_devices"]
    assert "found 4 in 2 processes, which must all be used" in result["error_of_unused_devices"]
  for index in (0, 1):
    assert_same_skips(read(tmp_path, f"skips_{index}"), results["skips_none"])


def test_a_process_that_nobody_started_with_others_is_told_so():
  code = "from macaw_jax.training import devices; devices.initialise_distributed()"
  child = subprocess.run(
    [sys.executable, "-c", code], env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
  )
  assert child.returncode == 1
  assert "ValueError: expected a process that SLURM's srun" in child.stderr


@pytest.mark.parametrize(
  ("seed", "task", "message"),
  [
    (4, 1, r"^seed = 4 does not divide the 6 members of the population; choose 1, 2, 3, 6"),
    (0, 1, r"^seed = 0 does not divide"),
    (1, 4, r"^task = 4 does not divide the 10 tasks of an update; choose 1, 2, 5, 10"),
    (1, -2, r"^task = -2 does not divide"),
    (3, 5, r"^seed = 3 times task = 5 asks for 15 devices, found \d+ \(.*\); "),
  ],
)
def test_sizes_that_do_not_fit_are_one_clear_error(seed, task, message):
  assert jax.device_count() < 15
  with pytest.raises(ValueError, match=message) as error:
    devices.make_mesh(seed, task, members=6, tasks=10)
  assert "\n" not in str(error.value)


def test_what_was_laid_out_can_be_donated_and_leaves_the_original_alone():
  mesh = devices.make_mesh(1, 1, members=2, tasks=1)
  values, key = np.arange(4096.0, dtype=np.float32).reshape(2, 2048), jax.random.key(3)
  laid_out = devices.put({"values": values, "keys": jax.random.split(key)}, devices.by_member(mesh))
  np.testing.assert_array_equal(devices.fetch(laid_out["values"]), values)
  np.testing.assert_array_equal(jax.random.key_data(laid_out["keys"]), jax.random.key_data(jax.random.split(key)))
  doubled = jax.jit(lambda x: 2 * x, donate_argnums=0)(laid_out["values"])
  np.testing.assert_array_equal(doubled, 2 * np.arange(4096.0).reshape(2, 2048))
  np.testing.assert_array_equal(values, np.arange(4096.0).reshape(2, 2048))


@pytest.mark.parametrize(
  ("script", "variables"),
  [
    ("slurm.sh", {"SLURM_NTASKS": "8", "SLURM_CPUS_PER_TASK": "2"}),
    ("tpu_vm.sh", {"TPU": "a", "ZONE": "b", "DEVICES": "8"}),
  ],
)
def test_launch_script_starts_a_run_on_all_devices(tmp_path, script, variables):
  """`srun` and `gcloud` stand for the cluster: they start what they are given once, here."""
  programs = {
    "srun": 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
    "gcloud": 'command="${@: -1}"; exec bash -c "${command#--command=}"',
    "python": "printf '%s\\n' \"$@\"",
  }
  (tmp_path / ".venv/bin").mkdir(parents=True)
  for name, body in programs.items():
    program = tmp_path / ".venv/bin" / name
    program.write_text(f"#!/bin/bash\n{body}\n")
    program.chmod(0o755)
  path = f"{tmp_path / '.venv/bin'}:{os.environ['PATH']}"
  started = subprocess.run(
    ["bash", ROOT / "launch" / script, "--config.output_directory=two words"],
    env=environment(PATH=path, DIRECTORY=str(tmp_path), **variables),
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  module, *flags = started.stdout.splitlines()[1:]
  assert module == "experiments.run"
  values = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
  assert (ROOT / values.pop("config")).is_file()
  assert values == {
    "config.population.seeds": "16",
    "config.devices.seed": "8",
    "config.devices.task": "1",
    "config.devices.distributed": "true",
    "config.output_directory": "two words",
  }


@pytest.mark.parametrize("script", ["slurm.sh", "tpu_vm.sh"])
def test_launch_script_says_what_it_misses(script):
  ended = subprocess.run(["bash", ROOT / "launch" / script], env=environment(), capture_output=True, text=True)
  assert ended.returncode != 0
  assert re.search(r"(SLURM_NTASKS|TPU): ", ended.stderr)
