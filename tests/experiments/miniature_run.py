"""A run in miniature, on a small dataset of the point robot: walks towards the goal, better from one to the next."""

import dataclasses
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from configs import macaw
from macaw_jax import envs
from macaw_jax.data.dataset import Episodes, write_dataset
from macaw_jax.data.manifest import Manifest, TaskEntry
from macaw_jax.envs.rollout import episode_return, make_rollout
from macaw_jax.training.metrics import ProgressLine

TRAIN_TASKS, TEST_TASKS = (0, 1, 2), (3, 4)


def act(params, task, timestep, key):
  """Walks to the goal in `task` with noise of size `params`; at random where the noise is infinite."""
  noise = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
  direction = jnp.clip(10.0 * (task["goal"] - timestep.observation), -1.0, 1.0)
  return jnp.where(jnp.isinf(params), noise, direction + params * noise), task


def write_point_robot(directory: Path, num_episodes: int = 10, **changes) -> Manifest:
  """Writes `num_episodes` episodes of five tasks; `changes` replace fields of the manifest."""
  family = envs.make("point_robot")
  num_tasks = len(TRAIN_TASKS) + len(TEST_TASKS)
  tasks = {name: values[:num_tasks] for name, values in family.tasks.items()}
  rollout = make_rollout(family, act)
  noises = np.linspace(1.0, 0.1, num_episodes)
  trajectories = [
    rollout(noise, tasks, tasks, key, deterministic=False)
    for noise, key in zip(noises, jax.random.split(jax.random.key(0), num_episodes), strict=True)
  ]
  random = episode_return(rollout(np.inf, tasks, tasks, jax.random.key(1), deterministic=False))
  expert = episode_return(rollout(0.0, tasks, tasks, jax.random.key(1), deterministic=False))
  episodes_by_task = []
  for task in range(num_tasks):
    episodes_by_task.append(
      Episodes(
        observation=np.concatenate([trajectory.observation[task] for trajectory in trajectories]),
        action=np.concatenate([trajectory.action[task] for trajectory in trajectories]),
        reward=np.concatenate([trajectory.reward[task] for trajectory in trajectories]),
        episode_length=np.full(num_episodes, family.horizon, np.int32),
        final_observation=np.stack([trajectory.next_observation[task, -1] for trajectory in trajectories]),
        terminal=np.zeros(num_episodes, bool),
        collected_at=(np.arange(num_episodes) * num_tasks + task) * family.horizon,
      )
    )
  manifest = Manifest(
    family="point_robot",
    observation_size=2,
    action_size=2,
    horizon=family.horizon,
    discount=0.99,
    seed=0,
    train_tasks=TRAIN_TASKS,
    test_tasks=TEST_TASKS,
    tasks=tuple(
      TaskEntry(
        parameters={"goal": tasks["goal"][task].tolist()},
        reference_returns={"random": float(random[task]), "expert": float(expert[task])},
      )
      for task in range(num_tasks)
    ),
    behaviour={"name": "walk towards the goal with noise"},
    versions={"jax": jax.__version__},
    git_commit=None,
    created="2025-01-01T00:00:00+00:00",
  )
  return write_dataset(directory, episodes_by_task, dataclasses.replace(manifest, **changes))


def make_miniature(data, output):
  """A locked configuration of 40 updates on a dataset, to be run in a directory."""
  config = macaw.get_config()
  config.output_directory = str(output)
  config.dataset.directory = str(data)
  config.algorithm.update({"layer": "dense", "hidden_sizes": (16, 16)})
  config.training.update(
    {
      "steps": 40,
      "support_size": 16,
      "query_size": 16,
      "log_every": 10,
      "evaluate_every": 20,
      "checkpoint_every": 20,
    }
  )
  config.evaluation.update({"episodes": 2, "support_size": 16, "train_tasks": 2})
  return config.lock()


def interrupt_at(step, interruption):
  """A progress line in whose row of training at `step` a signal is heard."""

  class Interrupting(ProgressLine):
    def write(self, now, metrics):
      super().write(now, metrics)
      if now == step and "steps_per_second" in metrics:
        interruption.received = signal.SIGTERM

  return Interrupting
