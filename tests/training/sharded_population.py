"""A population of MACAW on virtual devices, run in processes of its own: JAX fixes its devices when it first computes.

python sharded_population.py meshes <directory>               four devices of one process, and no mesh for comparison
python sharded_population.py processes <directory> <index>    one of two processes of two devices, as srun starts it
"""

import functools
import json
import pathlib
import re
import sys

import jax
import linear_cloning
import numpy as np
import optax
from poisoned_cloning import DIVERGES, LOUD, WELL, cloning, poisoned

from macaw_jax.algorithms import macaw
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.sampling import sample_tasks
from macaw_jax.training import devices, loop
from macaw_jax.training.non_finite import compile_with_skips
from macaw_jax.training.population import MEMBER_AXIS, make_population, make_population_chunk
from macaw_jax.types import Problem

MEMBERS, TASKS, ROWS, SUPPORT = 4, 12, 96, 32
TASKS_PER_UPDATE, UPDATES_PER_CALL, CALLS = 8, 2, 3
MESHES = ((1, 4), (2, 2), (4, 1))  # seed x task


def make_dataset():
  """Random transitions of tasks of different lengths."""
  rng = np.random.default_rng(0)
  draw = lambda *sizes: rng.normal(size=(TASKS, *sizes)).astype(np.float32)  # noqa: E731
  zeros = np.zeros((TASKS, ROWS), np.float32)
  return Dataset(
    observation=draw(ROWS, 3),
    action=np.tanh(draw(ROWS, 2)),
    reward=draw(ROWS),
    next_observation=draw(ROWS, 3),
    terminal=zeros,
    last=zeros,
    mc_return=draw(ROWS),
    final_discount=zeros + 0.5,
    episode_index=np.zeros((TASKS, ROWS), np.int32),
    final_observation=draw(1, 3),
    size=(ROWS - np.arange(TASKS)).astype(np.int32),
  )


def make_algorithm(count=lambda: None):
  """MACAW in small; `count` is called at each trace of the update.

  The large epsilon keeps Adam from turning the rounding of a gradient near zero into a step of full length.
  """
  algorithm = macaw(
    Problem(3, 2, TASKS, 0.9),
    hidden_sizes=(8,),
    value_learning_rate=1e-3,
    policy_learning_rate=1e-3,
    optimizer=functools.partial(optax.adam, eps=1e-3),
  )

  def update(state, tasks, key):
    count()
    return algorithm.update(state, tasks, key)

  return algorithm._replace(update=update)


sample = functools.partial(sample_tasks, num_tasks=TASKS_PER_UPDATE, support_size=SUPPORT, query_size=SUPPORT)


def make_keys():
  """Keys of the states and of the updates."""
  return jax.random.split(jax.random.key(0), (2, MEMBERS))


def communicated(compiled):
  """How many numbers of each type all collectives of a program receive together: `{"f32": 10}`."""
  sizes = {}
  operation = r"= (.*?) (?:all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
  for types in re.findall(operation, compiled.as_text()):
    for name, shape in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", types):
      sizes[name] = sizes.get(name, 0) + int(np.prod([int(size) for size in shape.split(",") if size]))
  return sizes


def shares(tree):
  """For each leaf, what each device of this process holds: `[[shape, first row], ...]`, in the order of devices."""
  return [
    [[shard.data.shape, (shard.index[0].start or 0) if shard.index else 0] for shard in leaf.addressable_shards]
    for leaf in jax.tree.leaves(tree)
  ]


def make_members(algorithm, keys):
  """A population whose members differ in a hyper-parameter too, though `make_chunk` reads none."""
  states = [loop.initialise(algorithm, key) for key in keys]
  return make_population([{"temperature": 1.0 + index} for index in range(MEMBERS)], states)


def make_chunk(algorithm, sample):
  """Some updates of every member."""
  return make_population_chunk(lambda temperature: algorithm, sample, UPDATES_PER_CALL, max_skips_in_a_row=2)


def run_without_mesh():
  keys_init, keys_train = make_keys()
  members = make_members(make_algorithm(), keys_init)
  chunk = make_chunk(make_algorithm(), sample)
  compiled = loop.compile_chunk(chunk, members, make_dataset(), keys_train)
  initial, metrics = jax.device_get(members.state.params), []
  for _ in range(CALLS):
    members, means = compiled(members, make_dataset(), keys_train)
    metrics.append(jax.device_get(means))
  return {
    "initial": initial,
    "state": jax.device_get(members.state),
    "metrics": metrics,
    "flops": compiled.cost_analysis()["flops"],
  }


def run_on_mesh(seed, task):
  traces = []
  algorithm = make_algorithm(lambda: traces.append(None))
  mesh = devices.make_mesh(seed, task, members=MEMBERS, tasks=TASKS_PER_UPDATE)
  keys_init, keys_train = make_keys()
  members, keys_train = devices.put((make_members(algorithm, keys_init), keys_train), devices.by_member(mesh))
  dataset = devices.put(make_dataset(), devices.replicated(mesh))
  sharded_sample = devices.shard_tasks(sample, mesh)
  batch = jax.jit(jax.vmap(sharded_sample, in_axes=(None, 0), spmd_axis_name=MEMBER_AXIS))(dataset, keys_train)

  compiled = devices.compile_on_mesh(make_chunk(algorithm, sharded_sample), mesh, members, dataset, keys_train)
  # A copy: a view of a buffer would keep it from donation.
  initial = jax.tree.map(np.array, devices.fetch(members.state.params))
  first_shares, donated, metrics = shares(members), [], []
  for _ in range(CALLS):
    before = members
    members, means = compiled(members, dataset, keys_train)
    donated.append(all(leaf.is_deleted() for leaf in jax.tree.leaves(before)))
    metrics.append(devices.fetch(means))
  return {
    "initial": initial,
    "state": devices.fetch(members.state),
    "metrics": metrics,
    "flops": compiled.cost_analysis()["flops"],
    "traces": len(traces),
    "donated": all(donated),
    "communicated": communicated(compiled),
    "shares_before": first_shares,
    "shares_after": shares(members),
    "shares_of_dataset": shares(dataset),
    "shares_of_batch": shares(batch),
    "laid_out_as_before": all(leaf.sharding == devices.by_member(mesh) for leaf in jax.tree.leaves((members, means))),
  }


def skip_updates(mesh):
  """Four members that skip updates, one of them until it stops; on no mesh if None."""
  keys, dataset, draw_batch = jax.random.split(jax.random.key(3), 4), poisoned([3]), linear_cloning.sample
  members = [WELL, DIVERGES, LOUD, WELL]
  states = [loop.initialise(cloning(**values), key) for values, key in zip(members, keys, strict=True)]
  population, compiled = make_population(members, states), []

  def compile_here(chunk, state, dataset, keys):
    compiled.append(type(state).__name__)
    if mesh is None:
      return loop.compile_chunk(chunk, state, dataset, keys)
    return devices.compile_on_mesh(chunk, mesh, state, dataset, keys)

  if mesh is not None:
    population, keys = devices.put((population, keys), devices.by_member(mesh))
    dataset, draw_batch = devices.put(dataset, devices.replicated(mesh)), devices.shard_tasks(draw_batch, mesh)
  layouts = [leaf.sharding for leaf in jax.tree.leaves(population)]
  chunk = compile_with_skips(cloning, draw_batch, 3, 3, compile_here, population, dataset, keys)
  newest, rows = population, []
  for newest, metrics in loop.train(chunk, population, dataset, keys, 12):  # noqa: B007
    rows.append(devices.fetch(metrics))
  return {
    "initial": [],
    "state": devices.fetch(newest),
    "metrics": rows,
    "skips": {name: values.tolist() for name, values in devices.fetch(newest.skips)._asdict().items()},
    "compiled": compiled,
    "laid_out_as_before": [leaf.sharding for leaf in jax.tree.leaves(newest)] == layouts,
  }


def write(directory, name, result):
  """Arrays in one file, by the name of their tree and their place in it; the rest in another."""
  arrays = {
    f"{tree}_{index}": leaf
    for tree in ("initial", "state", "metrics")
    for index, leaf in enumerate(jax.tree.leaves(result.pop(tree)))
  }
  np.savez(directory / f"{name}.npz", **arrays)
  (directory / f"{name}.json").write_text(json.dumps(result))


def main(role, directory, index="0"):
  directory = pathlib.Path(directory)
  if role == "meshes":
    jax.config.update("jax_num_cpu_devices", 4)
    write(directory, "none", run_without_mesh())
    for seed, task in MESHES:
      write(directory, f"{seed}x{task}", run_on_mesh(seed, task))
    write(directory, "skips_none", skip_updates(None))
    write(directory, "skips_2x2", skip_updates(devices.make_mesh(2, 2, members=MEMBERS, tasks=2)))
    return
  jax.config.update("jax_num_cpu_devices", 2)
  devices.initialise_distributed()
  try:
    devices.make_mesh(1, 2, members=MEMBERS, tasks=TASKS_PER_UPDATE)
    unused = ""
  except ValueError as error:
    unused = str(error)
  facts = {"main": devices.is_main_process(), "devices": [jax.local_device_count(), jax.device_count()]}
  write(directory, f"{role}_{index}", run_on_mesh(1, 4) | facts | {"error_of_unused_devices": unused})
  write(directory, f"skips_{index}", skip_updates(devices.make_mesh(2, 2, members=MEMBERS, tasks=2)))


if __name__ == "__main__":
  main(*sys.argv[1:])
