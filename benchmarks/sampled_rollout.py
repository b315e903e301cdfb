"""Agents that act in order to learn: compiled episodes and updates against a Python loop over time steps.

python -m benchmarks.sampled_rollout
python -m benchmarks.sampled_rollout --mjx_episodes=50 --mjx_episodes=512     on an accelerator

Episodes: the untrained policy of NoRML, as its configuration has it, acts in several tasks of each family, its actions
sampled, all of it recorded. The baseline of an analytic family is `benchmarks.host_loop`: one compiled call
of the policy and one pass of NumPy a step, until the last episode has ended. That of the half-cheetah is the evaluator,
`make_rollout`, which steps native MuJoCo from a Python loop; here a compiled program calls it, and on an accelerator
MJX is timed too.

Updates: NoRML and MAML collect, adapt, collect again and learn, in one program or with episodes from the loop; each
timed call begins with the first parameters.

Steps a second are by the clock, on all the cores that this process may use (`taskset -c 0` keeps it on one). They count
steps of episodes that have not ended; where that is less, simulated steps count all that are computed. Ratios are of
the former, to the baseline of the same family, which does the same work: but for `MJX x N`, which acts N episodes of
each task beside a baseline of --cheetah_episodes. `start` is the first call less a later
one: compilation. The physics of NumPy is compared with the family's before anything is timed.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags, logging

from benchmarks.host_loop import FAMILIES, loop_episodes, make_act, make_loop_update, physics_difference
from benchmarks.measure import Spread, interleave, show, spread, table, write_results
from configs.norml import get_config
from experiments.configuration import settings_of
from macaw_jax import envs
from macaw_jax.algorithms.settings import make_algorithm
from macaw_jax.envs.family import TaskFamily
from macaw_jax.envs.rollout import Engine, make_rollout
from macaw_jax.envs.sampled_rollout import make_sampled_rollout
from macaw_jax.sources.on_policy import collecting, sample_distinct_tasks
from macaw_jax.training.loop import compiler_options, initialise, make_chunk
from macaw_jax.types import Algorithm, Problem

CHEETAH = "cheetah_swapped"
LEARNING_FAMILIES = ("point_rotated", "cartpole_bias")
ARMS = ("norml", "maml")

CHOSEN = flags.DEFINE_list("families", [*FAMILIES, CHEETAH], "Task families.")
TASKS = flags.DEFINE_integer("tasks", 10, "Tasks of an analytic family.", lower_bound=1, upper_bound=5_000)
EPISODES = flags.DEFINE_integer("episodes", 25, "Episodes of each of them.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", None, "Steps of these episodes, where fewer than the family's.", lower_bound=1)
CHEETAH_EPISODES = flags.DEFINE_integer(
  "cheetah_episodes", 50, "Episodes of each of the half-cheetah's four tasks.", lower_bound=1
)
CHEETAH_STEPS = flags.DEFINE_integer("cheetah_steps", 100, "Steps of the half-cheetah's episodes.", lower_bound=1)
MJX_EPISODES = flags.DEFINE_multi_integer(
  "mjx_episodes", [50], "Episodes of each of its tasks in MJX; repeatable.", lower_bound=1
)
ROLLOUTS = flags.DEFINE_integer("rollouts", 5, "Rollouts in one timed call.", lower_bound=1)
UPDATES = flags.DEFINE_integer("updates", 5, "Updates in one timed call.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of each version.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")


class Counts(NamedTuple):
  """Environment steps."""

  valid: float  # of episodes that had not ended
  simulated: float


class Version(NamedTuple):
  """A way to do some work."""

  name: str
  episodes: int
  call: Callable[[], Any]
  steps: Callable[[Any], Counts]  # of what a call returns


class Comparison(NamedTuple):
  """Versions that do the same work; ratios are to the last."""

  family: str
  work: str
  versions: list[Version]


def configured(family: TaskFamily, arm: str) -> Algorithm:
  """An arm of NoRML's configuration for the family."""
  config = get_config(family.name)
  config.algorithm.update(config.variants[arm])
  problem = Problem(
    family.observation_size, family.action_size, len(family.train_tasks), discount=config.rollouts.discount
  )
  return make_algorithm(config.algorithm.name, problem, settings_of(config))


def analytic_family(name: str) -> TaskFamily:
  """A family with the horizon that was asked for."""
  family = envs.make(name)
  return family._replace(horizon=min(family.horizon, STEPS.value or family.horizon))


def tasks_of(family: TaskFamily, indices: Any) -> Any:
  """Some of a family's tasks, leaves `[T, ...]`."""
  return jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(indices)], family.tasks)


def of_mask(mask: Any) -> Counts:
  """The steps of a mask `[..., H]` from a program that computes all of them."""
  return Counts(float(np.sum(mask)), np.size(mask))


def of_loop(*masks: np.ndarray) -> Counts:
  """The steps of masks `[..., H]` from the loop, which ends with the last episode."""
  taken = [mask.reshape(-1, mask.shape[-1]) for mask in masks]
  return Counts(
    valid=float(sum(np.sum(mask) for mask in taken)),
    simulated=float(sum(len(mask) * np.sum(np.any(mask, axis=0)) for mask in taken)),
  )


def compiled_rollout(
  name: str, family: TaskFamily, algorithm: Algorithm, tasks: Any, num_episodes: int, engine: Engine = "native"
) -> Version:
  """Episodes in one compiled program."""
  rollout, num_tasks = make_sampled_rollout(family, algorithm.act, engine=engine), len(jax.tree.leaves(tasks)[0])
  params, keys = initialise(algorithm, jax.random.key(0)).params, jax.random.split(jax.random.key(0), num_tasks)

  def episodes_of_task(params: Any, task: Any, key: Any) -> Any:
    return rollout(params, {}, task, key, num_episodes)._replace(state=None, terminal=None)  # not read by an update

  program = jax.jit(jax.vmap(episodes_of_task, (None, 0, 0)))
  return Version(
    name=name,
    episodes=num_tasks * num_episodes,
    call=lambda: [jax.block_until_ready(program(params, tasks, keys)) for _ in range(ROLLOUTS.value)],
    steps=lambda rollouts: of_mask([episodes.mask for episodes in rollouts]),
  )


def analytic_rollouts(name: str) -> Comparison:
  """Episodes of an analytic family."""
  family, num_episodes = analytic_family(name), EPISODES.value
  algorithm = configured(family, "norml")
  tasks = tasks_of(family, np.linspace(0, len(family.train_tasks) - 1, TASKS.value).astype(int))
  params, act = initialise(algorithm, jax.random.key(0)).params, make_act(algorithm, family.action_size)
  loop = Version(
    name="Python loop, NumPy",
    episodes=TASKS.value * num_episodes,
    call=lambda: [loop_episodes(family, act, params, {}, tasks, num_episodes, 0) for _ in range(ROLLOUTS.value)],
    steps=lambda rollouts: of_loop(*(episodes.mask for episodes in rollouts)),
  )
  compiled = compiled_rollout("macaw_jax", family, algorithm, tasks, num_episodes)
  return Comparison(name, "rollout", [compiled, loop])


def cheetah_rollouts() -> Comparison:
  """Episodes of the half-cheetah."""
  family = envs.make(CHEETAH)._replace(horizon=CHEETAH_STEPS.value)
  algorithm, num_episodes = configured(family, "norml"), CHEETAH_EPISODES.value
  params = initialise(algorithm, jax.random.key(0)).params
  versions = [compiled_rollout("macaw_jax, native", family, algorithm, family.tasks, num_episodes)]
  if jax.default_backend() == "cpu":
    print("MJX: skipped, there is no accelerator")
  else:
    versions += [
      compiled_rollout(f"macaw_jax, MJX x {count}", family, algorithm, family.tasks, count, "mjx")
      for count in MJX_EPISODES.value
    ]
  evaluator = make_rollout(family, algorithm.act)
  tasks = jax.tree.map(lambda leaf: np.repeat(leaf, num_episodes, axis=0), family.tasks)
  loop = Version(
    name="make_rollout",
    episodes=family.num_tasks * num_episodes,
    call=lambda: [evaluator(params, {}, tasks, jax.random.key(0), deterministic=False) for _ in range(ROLLOUTS.value)],
    steps=lambda rollouts: of_mask([trajectory.mask for trajectory in rollouts]),
  )
  return Comparison(family.name, "rollout", [*versions, loop])


def updates(name: str, arm: str) -> Comparison:
  """Updates that collect and learn."""
  family, num_episodes = analytic_family(name), EPISODES.value
  algorithm, key = configured(family, arm), jax.random.key(0)
  tasks = tasks_of(family, family.train_tasks)
  state = initialise(algorithm, key)
  sample = partial(sample_distinct_tasks, num_tasks=TASKS.value)
  learner = collecting(algorithm, make_sampled_rollout(family, algorithm.act), num_episodes=num_episodes)
  # As `compile_chunk`, but that the state is not donated: every call begins with it.
  program = jax.jit(make_chunk(learner, sample, UPDATES.value), compiler_options=compiler_options())
  episodes = 2 * TASKS.value * num_episodes

  def compiled_call() -> Any:
    return jax.block_until_ready(program(state, tasks, key))

  def compiled_count(result: Any) -> Counts:
    _, metrics = result
    return Counts(
      UPDATES.value * float(metrics["environment_steps_of_update"]), UPDATES.value * episodes * family.horizon
    )

  loop_update = make_loop_update(algorithm, family, num_episodes)
  batches = np.random.default_rng(0).permuted(np.tile(family.train_tasks, (UPDATES.value, 1)), axis=1)[:, : TASKS.value]

  def loop_call() -> list[Any]:
    now, masks = state, list[Any]()
    for seed, batch in enumerate(batches):
      now, support, query = loop_update(now, tasks_of(family, batch), seed)
      masks += [support.mask, query.mask]
    jax.block_until_ready(now)
    return masks

  versions = [
    Version("macaw_jax", episodes, compiled_call, compiled_count),
    Version("Python loop, NumPy", episodes, loop_call, lambda masks: of_loop(*masks)),
  ]
  return Comparison(name, f"{arm} update", versions)


def measure(comparison: Comparison) -> list[dict[str, Any]]:
  """The rows of a comparison."""
  counts, first_call = {}, {}
  for version in comparison.versions:
    started = time.perf_counter()
    result = version.call()
    first_call[version.name] = time.perf_counter() - started
    counts[version.name] = version.steps(result)
  times = interleave({version.name: version.call for version in comparison.versions}, REPEATS.value)
  seconds = {name: spread([each.wall for each in of_name]) for name, of_name in times.items()}
  valid = {name: rate(counts[name].valid, of_name) for name, of_name in seconds.items()}
  baseline = comparison.versions[-1].name
  return [
    {
      "family": comparison.family,
      "work": comparison.work,
      "version": version.name,
      "episodes": version.episodes,
      "steps_per_second": valid[version.name]._asdict(),
      "simulated_steps_per_second": rate(counts[version.name].simulated, seconds[version.name])._asdict(),
      "ratio": valid[version.name].median / valid[baseline].median,
      "start_seconds": first_call[version.name] - seconds[version.name].median,
    }
    for version in comparison.versions
  ]


def rate(steps: float, seconds: Spread) -> Spread:
  """Steps a second."""
  return Spread(steps / seconds.high, steps / seconds.median, steps / seconds.low)


def shown(row: dict[str, Any]) -> dict[str, str]:
  """A row for people."""
  steps, simulated = Spread(**row["steps_per_second"]), Spread(**row["simulated_steps_per_second"])
  return {
    "family": row["family"],
    "work": row["work"],
    "version": row["version"],
    "episodes": str(row["episodes"]),
    "steps/s": show(steps, 0),
    "simulated/s": show(simulated, 0) if simulated != steps else "the same",
    "ratio": f"{row['ratio']:.2f}",
    "start s": f"{row['start_seconds']:.1f}",
  }


def main(argv: list[str]) -> None:
  """Compares, times, prints the table."""
  if argv[1:]:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  for name in CHOSEN.value:
    if name not in (*FAMILIES, CHEETAH):
      raise app.UsageError(f"--families: no family {name!r} here; expected some of {', '.join([*FAMILIES, CHEETAH])}")
  logging.set_verbosity(logging.WARNING)
  apart = {name: physics_difference(envs.make(name)) for name in CHOSEN.value if name in FAMILIES}
  for name, value in apart.items():
    print(f"{name}: largest difference of NumPy's physics {value:.1e}")
  rows = []
  for name in CHOSEN.value:
    rows += measure(cheetah_rollouts() if name == CHEETAH else analytic_rollouts(name))
  for name in LEARNING_FAMILIES:
    if name in CHOSEN.value:
      rows += [row for arm in ARMS for row in measure(updates(name, arm))]
  print(f"on {jax.devices()[0].device_kind}, jax {jax.__version__}")
  print(table([shown(row) for row in rows]))
  if OUTPUT.value:
    rows = [row | {"physics_difference": apart.get(row["family"])} for row in rows]
    write_results(OUTPUT.value, "sampled_rollout", rows)


if __name__ == "__main__":
  app.run(main)
