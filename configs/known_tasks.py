"""The shared part of configurations of agents that are told their task, and learn in all training tasks at once."""

from typing import Any

import ml_collections

from macaw_jax import envs

from .on_policy import on_policy

EPISODES = 32  # of each task of an update


def known_tasks(algorithm: str, family: str, **departures: Any) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` on all training tasks of a family; there is nothing to adapt."""
  config = on_policy(algorithm, family, tasks_per_update=len(envs.make(family).train_tasks), **departures)
  config.rollouts.episodes = EPISODES
  config.rollouts.inner_steps = 0
  return config
