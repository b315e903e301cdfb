"""The shared part of configurations with a replay buffer that the agent fills; an algorithm's file adds departures."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from macaw_jax import envs

from .common import common


def replayed(algorithm: str, family: str, departures: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` in a family, with these departures from its factory's defaults."""
  config = common(algorithm, departures, steps=16_000, evaluate_every=2_000, checkpoint_every=4_000)

  config.collection = ml_collections.ConfigDict()  # numbers of episodes are those of each task
  config.collection.family = family
  config.collection.critic_reward = config_dict.placeholder(str)  # or the family whose reward the critic learns from
  config.collection.discount = 0.9
  config.collection.ignored_observations = ()  # entries that the agent does not see
  config.collection.initial_episodes = 5  # before the first update, under the prior
  config.collection.tasks_per_iteration = min(20, len(envs.make(family).train_tasks))
  config.collection.prior_episodes = 4  # under the prior, into contexts and experience
  config.collection.posterior_episodes = 1  # under the posterior of the context so far, into both
  config.collection.extra_episodes = 2  # under the posterior, into the experience alone

  # In one compiled call, after each collection; divides steps, evaluate_every and checkpoint_every.
  config.training.updates_per_iteration = 200
  config.training.tasks_per_update = 16
  config.training.repeated_tasks = True  # whether an update may have a task more than once
  config.training.support_size = 64  # transitions of a context
  config.training.query_size = 64  # transitions of a task that the critic learns from
  config.training.keep_checkpoints = 1  # of the newest; each holds all that was collected

  config.evaluation.episodes = 4  # repetitions of all that follows, in each task
  config.evaluation.exploration_episodes = 3  # first episodes, under the prior
  config.evaluation.adapted_episodes = 3  # then, each adapted to all before
  config.evaluation.engine = "native"  # or 'mjx', also of collection: MuJoCo bodies in the compiled program
  config.evaluation.train_tasks = 0  # training tasks to evaluate too, for tuning
  return config
