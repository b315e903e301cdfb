"""The shared part of configurations of on-policy agents; an algorithm's file adds its own departures."""

from typing import Any

import ml_collections
from ml_collections import config_dict

from macaw_jax import envs

from .common import common

TASKS_PER_UPDATE = 10
EVALUATED_TASKS = 100


def on_policy(
  algorithm: str, family: str, *, tasks_per_update: int = TASKS_PER_UPDATE, **departures: Any
) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` in the tasks of a family, with these departures from its factory's defaults.

  An update has `tasks_per_update` tasks, and an evaluation a hundred, or all where the family has fewer.

  Raises:
    ValueError: no family has this name.
  """
  tasks = envs.make(family)
  config = common(algorithm, departures, steps=1_000, evaluate_every=100, checkpoint_every=500)

  config.rollouts = ml_collections.ConfigDict()
  config.rollouts.family = family
  config.rollouts.discount = 0.99
  config.rollouts.episodes = 25  # of each task of an update, before each inner step and after the last
  config.rollouts.inner_steps = 1  # each adapts to episodes of the policy before it
  config.rollouts.tasks_per_update = min(tasks_per_update, len(tasks.train_tasks))
  config.rollouts.horizon = config_dict.placeholder(int)  # steps of a training episode, where fewer than the family's
  config.rollouts.engine = "native"  # or 'mjx', also of evaluation: MuJoCo bodies in the compiled program

  config.training.log_every = 20  # updates in one compiled call; divides steps, evaluate_every and checkpoint_every

  config.evaluation.tasks = min(EVALUATED_TASKS, len(tasks.test_tasks))  # test tasks, evenly spaced
  config.evaluation.episodes = 4  # of each that count, before adaptation and, fresh ones, after
  config.evaluation.support_episodes = config.rollouts.get_ref("episodes") + 0  # that an inner step adapts to
  config.evaluation.horizon = config_dict.placeholder(int)  # steps of an episode, where fewer than the family's
  return config
