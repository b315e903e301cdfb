"""What one meta-update of MACAW costs: ours against the same update with a copy of every generator per task.

python -m benchmarks.update_step
python -m benchmarks.update_step --tasks=20 --inner_steps=2

Both versions see the same data, and their meta-gradients are compared before anything is timed. The process runs on
one core; each row gives processor time and wall time of an update (sampling and optimiser included), median and
quartiles over the repeats, interleaved so that a noisy machine is noisy for both. Compile time stands apart.
"""

import os

if hasattr(os, "sched_setaffinity"):  # Before JAX makes its threads.
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags, logging

from macaw_jax.adaptation import chain
from macaw_jax.adaptation.gradient_step import inverse_softplus, split_rows
from macaw_jax.algorithms.macaw import ADVANTAGE_COEFFICIENT, macaw
from macaw_jax.data.dataset import Dataset
from macaw_jax.data.sampling import sample_tasks
from macaw_jax.losses import (
  add,
  advantage_of,
  advantage_regression,
  advantage_weighted_regression,
  monte_carlo,
  scale,
  value_regression,
)
from macaw_jax.meta_learner import RULE, init_parts, meta_learner, optimize_parts
from macaw_jax.networks.policy import act_with, gaussian_policy
from macaw_jax.networks.value import value_network
from macaw_jax.training.loop import make_chunk
from macaw_jax.types import (
  Adaptation,
  Algorithm,
  Array,
  Key,
  LossFn,
  Metrics,
  Params,
  Problem,
  TaskBatch,
  TrainState,
  Transition,
)

TASKS = flags.DEFINE_integer("tasks", 5, "Tasks of an update.", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", 256, "Transitions of a task's support, and of its query.", lower_bound=2)
WIDTH = flags.DEFINE_integer("width", 100, "Width of the three hidden layers.", lower_bound=1)
INNER_STEPS = flags.DEFINE_integer("inner_steps", 1, "Inner steps.", lower_bound=1)
UPDATES = flags.DEFINE_integer("updates", 20, "Updates in one compiled call.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 7, "Timed calls of each version.", lower_bound=1)

OBSERVATION_SIZE, ACTION_SIZE, ROWS, DISCOUNT = 20, 6, 2_000, 0.99
LEARNING_RATES = {"value": 3e-4, "policy": 3e-4, RULE: 1e-3}
STEP_SIZE = 0.01


class Measurement(NamedTuple):
  """Milliseconds of one update."""

  processor: float
  wall: float


def random_dataset(num_tasks: int, seed: int = 0) -> Dataset:
  """Standard normal data of the half-cheetah's sizes: the cost does not depend on the values."""
  generator = np.random.default_rng(seed)

  def draw(*shape: int) -> np.ndarray:
    return generator.standard_normal((num_tasks, *shape), dtype=np.float32)

  return Dataset(
    observation=draw(ROWS, OBSERVATION_SIZE),
    action=np.tanh(draw(ROWS, ACTION_SIZE)),
    reward=draw(ROWS),
    next_observation=draw(ROWS, OBSERVATION_SIZE),
    terminal=np.zeros((num_tasks, ROWS), np.float32),
    last=np.zeros((num_tasks, ROWS), np.float32),
    mc_return=draw(ROWS),
    final_observation=draw(ROWS // 200, OBSERVATION_SIZE),
    episode_index=np.broadcast_to(np.arange(ROWS) // 200, (num_tasks, ROWS)).astype(np.int32),
    final_discount=np.full((num_tasks, ROWS), 0.5, np.float32),
    size=np.full((num_tasks,), ROWS, np.int32),
  )


def copying_gradient_step(loss: LossFn, *, on: str, steps: int, learned: dict[str, float]) -> Adaptation:
  """Gradient steps on the parameters themselves: mapped over tasks, every task has its own copy of each generator."""

  def init(net: dict[str, Params]) -> Params:
    return {
      "learned": {name: jnp.full((), value, float) for name, value in learned.items()},
      "raw_step_size": jax.tree.map(lambda _: jnp.full((), inverse_softplus(STEP_SIZE), float), net[on]),
    }

  def apply(net: dict[str, Params], rule: Params, support: Transition, key: Key) -> tuple[dict[str, Params], Metrics]:
    adapted = net[on]
    for batch in split_rows(support, steps):

      def step_loss(params: Params, batch: Transition = batch) -> Array:
        return loss(net | rule["learned"] | {on: params}, batch, key)[0]

      step_sizes = jax.tree.map(jax.nn.softplus, rule["raw_step_size"])
      adapted = jax.tree.map(lambda p, a, g: p - a * g, adapted, step_sizes, jax.grad(step_loss)(adapted))
    return {on: adapted}, {}

  return Adaptation(init, apply)


def copying_macaw(problem: Problem, optimizer: Callable[[float], optax.GradientTransformation]) -> Algorithm:
  """MACAW as `macaw_jax.algorithms.macaw` has it, with the plain inner step."""
  sizes = (WIDTH.value,) * 3
  policy = gaussian_policy(OBSERVATION_SIZE, ACTION_SIZE, sizes, layer="weight_transform", advantage_head=True)
  value = value_network(OBSERVATION_SIZE, sizes, layer="weight_transform")
  advantage = advantage_of(value, monte_carlo())
  value_loss = value_regression(value, monte_carlo())
  policy_loss = advantage_weighted_regression(policy, advantage)
  inner_policy_loss = add(
    policy_loss,
    scale(lambda params: jax.nn.softplus(params[ADVANTAGE_COEFFICIENT]), advantage_regression(policy, advantage)),
  )
  steps = INNER_STEPS.value
  learned = {ADVANTAGE_COEFFICIENT: inverse_softplus(0.01)}

  return meta_learner(
    init_net=init_parts({"policy": policy.init, "value": value.init}),
    adaptation=chain(
      copying_gradient_step(value_loss, on="value", steps=steps, learned={}),
      copying_gradient_step(inner_policy_loss, on="policy", steps=steps, learned=learned),
    ),
    outer_loss=add(value_loss, policy_loss),
    optimizer=optimize_parts({part: optimizer(rate) for part, rate in LEARNING_RATES.items()}),
    act=act_with(policy),
  )


def our_macaw(problem: Problem, optimizer: Callable[[float], optax.GradientTransformation]) -> Algorithm:
  """MACAW as a user gets it."""
  return macaw(
    problem,
    hidden_sizes=(WIDTH.value,) * 3,
    inner_steps=INNER_STEPS.value,
    inner_value_step_size=STEP_SIZE,
    inner_policy_step_size=STEP_SIZE,
    value_learning_rate=LEARNING_RATES["value"],
    policy_learning_rate=LEARNING_RATES["policy"],
    rule_learning_rate=LEARNING_RATES[RULE],
    optimizer=optimizer,
  )


VERSIONS = {"macaw_jax": our_macaw, "a generator copy per task": copying_macaw}


def largest_difference(problem: Problem, dataset: Dataset) -> float:
  """The largest relative difference of a meta-gradient tensor between the versions."""
  key = jax.random.key(0)
  tasks = sample_tasks(dataset, key, num_tasks=TASKS.value, support_size=BATCH.value, query_size=BATCH.value)
  gradients = []
  for version in VERSIONS.values():
    # Momentum without memory: an optimiser whose state is the last gradient.
    algorithm = version(problem, lambda rate: optax.trace(decay=0.0))
    state = algorithm.init(key)
    state, _ = jax.jit(algorithm.update)(state, tasks, key)
    gradients.append(jax.tree.leaves(state.opt_state))
  norms = [
    (float(jnp.linalg.norm(ours - theirs)), float(jnp.linalg.norm(theirs)))
    for ours, theirs in zip(*gradients, strict=True)
  ]
  # A head's own step sizes have a gradient of exactly zero with one inner step.
  return max(difference / norm if norm else difference for difference, norm in norms)


def measure(run: Callable[[TrainState], TrainState], state: TrainState) -> tuple[TrainState, Measurement]:
  """One timed call of `UPDATES` updates."""
  processor, wall = time.process_time(), time.perf_counter()
  state = jax.block_until_ready(run(state))
  scale_to_update = 1e3 / UPDATES.value
  return state, Measurement(
    (time.process_time() - processor) * scale_to_update, (time.perf_counter() - wall) * scale_to_update
  )


def main(arguments: list[str]) -> None:
  """Compares, times, and prints the table."""
  if len(arguments) > 1:
    raise app.UsageError(f"unknown argument {arguments[1]!r}")
  logging.set_verbosity(logging.WARNING)  # JAX reports every backend that it did not find.
  problem = Problem(OBSERVATION_SIZE, ACTION_SIZE, TASKS.value, DISCOUNT)
  dataset = jax.device_put(random_dataset(TASKS.value))
  print(
    f"one update: {TASKS.value} tasks, {BATCH.value} + {BATCH.value} transitions, 3 x {WIDTH.value} weight transform, "
    f"{INNER_STEPS.value} inner step(s), on one {jax.devices()[0].device_kind} core, jax {jax.__version__}"
  )
  print(f"largest relative difference of a meta-gradient tensor: {largest_difference(problem, dataset):.1e}")

  runs, states, compile_seconds = {}, {}, {}
  key = jax.random.key(1)
  for name, version in VERSIONS.items():
    algorithm = version(problem, optax.adam)

    def sample(dataset: Dataset, key: Key) -> TaskBatch:
      return sample_tasks(dataset, key, num_tasks=TASKS.value, support_size=BATCH.value, query_size=BATCH.value)

    chunk = jax.jit(make_chunk(algorithm, sample, UPDATES.value), donate_argnums=0)
    states[name] = jax.jit(algorithm.init)(key)
    start = time.perf_counter()
    compiled = chunk.lower(states[name], dataset, key).compile()
    compile_seconds[name] = time.perf_counter() - start
    runs[name] = lambda state, compiled=compiled: compiled(state, dataset, key)[0]
    states[name], _ = measure(runs[name], states[name])  # Warm-up.

  rows: dict[str, list[Measurement]] = {name: [] for name in VERSIONS}
  for _ in range(REPEATS.value):
    for name in VERSIONS:
      states[name], measurement = measure(runs[name], states[name])
      rows[name].append(measurement)

  ours = np.median([row.processor for row in rows["macaw_jax"]])
  print(f"\n{'version':28}{'processor ms':>24}{'wall ms':>24}{'ratio':>8}{'compile s':>11}")
  for name, measurements in rows.items():
    processor, wall = np.percentile(np.asarray(measurements), [25, 50, 75], axis=0).T
    spread = ["{1:.1f} [{0:.1f}, {2:.1f}]".format(*quartiles) for quartiles in (processor, wall)]
    print(f"{name:28}{spread[0]:>24}{spread[1]:>24}{processor[1] / ours:>8.2f}{compile_seconds[name]:>11.1f}")


if __name__ == "__main__":
  app.run(main)
