"""Episodes of the half-cheetah: the evaluator against the loop that one writes around Gymnasium's vector environments.

python -m benchmarks.rollout
python -m benchmarks.rollout --episodes=100 --mjx_episodes=512 --mjx_episodes=2048     on an accelerator

An untrained MACAW policy acts deterministically in cheetah_dir; every version steps episodes of the same length, and of
the same number but for MJX, and hands back their observations, actions and rewards. Gymnasium steps its HalfCheetah-v5
on the body of cheetah_dir, which has the published masses and joints; the policy sees the same 20 numbers there,
computed inside its compiled function. Both are stepped from the same starts under the same actions first, and the
largest difference of their states is printed. Environment steps a second by the clock, on all the cores that this
process may use: threads and processes are part of what is compared (`taskset -c 0` keeps them on one).
"""

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from benchmarks.measure import interleave, show, spread, table, write_results
from macaw_jax import envs
from macaw_jax.algorithms import ALGORITHMS
from macaw_jax.envs.cheetah import XML_PATH
from macaw_jax.envs.family import MujocoDynamics, Physics, TaskFamily
from macaw_jax.envs.native import NativeSimulator
from macaw_jax.envs.rollout import Engine, make_rollout
from macaw_jax.types import Array, MetaParams, Problem, TimeStep

EPISODES = flags.DEFINE_integer("episodes", 20, "Episodes of each of the two tasks.", lower_bound=1)
MJX_EPISODES = flags.DEFINE_multi_integer(
  "mjx_episodes", [4], "The same for MJX, 0 for none; repeatable.", lower_bound=0
)
STEPS = flags.DEFINE_integer("steps", 200, "Steps of an episode.", lower_bound=1)
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of each version.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "JSON file of the results.")

BASELINE = "Gymnasium SyncVectorEnv"
COMPARED_STEPS = (1, 10, 50)  # contacts blow up the last bit after more of them


def make_environment() -> gymnasium.Env:
  """One HalfCheetah-v5 on the body of cheetah_dir; its observation is qpos, then qvel."""
  return gymnasium.make(
    "HalfCheetah-v5", xml_file=XML_PATH, exclude_current_positions_from_observation=False, max_episode_steps=STEPS.value
  )


def make_vector_environments(num_episodes: int) -> dict[str, VectorEnv]:
  """Both kinds. Call it before JAX computes anything: the processes of the second are forked."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # JAX warns of forks, but has no threads yet.
    return {
      BASELINE: SyncVectorEnv([make_environment] * num_episodes),
      "Gymnasium AsyncVectorEnv": AsyncVectorEnv([make_environment] * num_episodes),
    }


def physics_difference(family: TaskFamily) -> dict[int, float]:
  """The largest difference of a position or velocity after numbers of steps, under random actions from one start."""
  assert isinstance(family.dynamics, MujocoDynamics)
  environment = make_environment()
  environment.reset()
  generator = np.random.default_rng(0)
  qpos, qvel = generator.uniform(-0.1, 0.1, 9), 0.1 * generator.standard_normal(9)
  environment.unwrapped.set_state(qpos, qvel)  # type: ignore[attr-defined]
  simulator = NativeSimulator(family.dynamics)
  physics = Physics(qpos[None], qvel[None])
  apart = {}
  for step in range(1, max(COMPARED_STEPS) + 1):
    action = generator.uniform(-1.0, 1.0, 6).astype(np.float32)
    physics = simulator.step([simulator.model], physics, action[None])
    theirs, *_ = environment.step(action)
    if step in COMPARED_STEPS:
      apart[step] = float(np.max(np.abs(theirs - np.concatenate([physics.qpos[0], physics.qvel[0]]))))
  return apart


def make_act(family: TaskFamily, act: Callable[..., tuple[Array, Any]]) -> Callable[[MetaParams, Array], Array]:
  """The policy's mode for a batch of (qpos, qvel), compiled: `(params, [N, 18]) -> [N, 6]`."""

  def one(params: MetaParams, state: Array) -> Array:
    observation = family.observe({}, Physics(state[:9], state[9:]))
    timestep = TimeStep(observation, jnp.zeros(family.action_size), jnp.zeros(()), jnp.zeros(()))
    return act(params, {}, timestep, None)[0]

  return jax.jit(jax.vmap(one, (None, 0)))


def vector_episodes(
  environment: VectorEnv, act: Callable[[MetaParams, Array], Array], params: MetaParams, num_steps: int
) -> tuple[np.ndarray, ...]:
  """An episode in each environment: observations [N, H + 1, 18], actions [N, H, 6], rewards [N, H]."""
  observation, _ = environment.reset(seed=0)
  observations, actions, rewards = [observation], [], []
  for _ in range(num_steps):
    action = np.asarray(act(params, observation.astype(np.float32)))
    observation, reward, *_ = environment.step(action)
    observations.append(observation.copy())
    actions.append(action)
    rewards.append(reward)
  return np.stack(observations, 1), np.stack(actions, 1), np.stack(rewards, 1)


def make_episodes(
  family: TaskFamily, act: Callable[..., tuple[Array, Any]], params: MetaParams, engine: Engine, per_task: int
) -> Callable[[], Any]:
  """The evaluator: `per_task` episodes of each task."""
  rollout = make_rollout(family, act, engine)
  tasks = jax.tree.map(lambda leaf: np.repeat(leaf, per_task, axis=0), family.tasks)
  return lambda: jax.block_until_ready(rollout(params, {}, tasks, jax.random.key(0)))


def main(argv: list[str]) -> None:
  """Compares, times, prints the table."""
  if argv[1:]:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)
  family = envs.make("cheetah_dir")._replace(horizon=STEPS.value)
  num_episodes = family.num_tasks * EPISODES.value
  started = time.perf_counter()
  environments = make_vector_environments(num_episodes)
  environment_seconds = time.perf_counter() - started

  apart = physics_difference(family)
  print("largest difference of a state, native engine and HalfCheetah-v5:", end=" ")
  print(", ".join(f"{value:.1e} after {step} steps" for step, value in apart.items()))
  algorithm = ALGORITHMS["macaw"](Problem(family.observation_size, family.action_size, family.num_tasks, 0.99))
  params = jax.jit(algorithm.init)(jax.random.key(0)).params
  act = make_act(family, algorithm.act)

  engines: dict[str, tuple[Engine, int]] = {"macaw_jax, native": ("native", EPISODES.value)}
  engines |= {f"macaw_jax, MJX x {count}": ("mjx", count) for count in MJX_EPISODES.value if count}
  calls = {name: make_episodes(family, algorithm.act, params, *engine) for name, engine in engines.items()}
  calls |= {
    name: partial(vector_episodes, environment, act, params, STEPS.value) for name, environment in environments.items()
  }
  counts = {name: family.num_tasks * per_task for name, (_, per_task) in engines.items()}
  first_call = {}
  for name, call in calls.items():
    started = time.perf_counter()
    call()
    first_call[name] = time.perf_counter() - started

  rates = {}
  for name, times in interleave(calls, REPEATS.value).items():
    steps = STEPS.value * counts.get(name, num_episodes)
    rates[name] = spread([steps / one.wall for one in times])
  for environment in environments.values():
    environment.close()
  rows: list[dict[str, Any]] = [
    {
      "version": name,
      "episodes": counts.get(name, num_episodes),
      "steps_per_second": rate._asdict(),
      "ratio": rate.median / rates[BASELINE].median,
      "first_call_seconds": first_call[name],
      "physics_difference": apart,
    }
    for name, rate in rates.items()
  ]
  print(f"episodes of {STEPS.value} steps, on {jax.devices()[0].device_kind}; vector environments made in", end=" ")
  print(f"{environment_seconds:.1f} s")
  shown = [
    {
      "version": row["version"],
      "episodes": row["episodes"],
      "steps/s": show(rates[row["version"]], 0),
      "ratio": f"{row['ratio']:.2f}",
      "first call s": f"{row['first_call_seconds']:.1f}",
    }
    for row in rows
  ]
  print(table(shown))
  if OUTPUT.value:
    write_results(OUTPUT.value, "rollout", rows)


if __name__ == "__main__":
  app.run(main)
