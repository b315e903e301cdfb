"""The shared part of configurations of agents that remember, trained on trials of several episodes."""

from typing import Any

import ml_collections

from macaw_jax import envs

from .on_policy import on_policy

# By the first word of a family's name: episodes of a trial, trials of an update, and the learning rate. A bandit has a
# trial of one long episode.
TRIALS = {"bandit": (1, 512, 3e-3), "maze": (2, 256, 1e-3)}
OTHERS = (3, 64, 1e-3)
# Of choices; the spread of continuous actions would grow without end.
ENTROPY_WEIGHT = 0.05


def trials(algorithm: str, family: str, **departures: Any) -> ml_collections.ConfigDict:
  """The configuration of `algorithm` on trials in the tasks of a family.

  An agent acts in an episode, remembers it, and acts in the next; the last one is the query.
  """
  episodes, tasks, learning_rate = TRIALS.get(family.split("_")[0], OTHERS)
  made = envs.make(family)
  entropy_weight = ENTROPY_WEIGHT if made.discrete_actions else 0.0
  settings: dict[str, Any] = {
    "tasks_per_update": min(tasks, len(made.train_tasks)),
    "ppo": {"entropy_weight": entropy_weight, "learning_rate": learning_rate},
  }
  config = on_policy(algorithm, family, **settings | departures)
  config.rollouts.episodes = 1
  config.rollouts.inner_steps = episodes - 1
  config.evaluation.episodes = 1
  config.evaluation.support_episodes = 1
  return config
