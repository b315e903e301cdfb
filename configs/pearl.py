"""PEARL, which collects its own data.

python -m experiments.run --config=configs/pearl.py                       point robot, dense reward
python -m experiments.run --config=configs/pearl.py:point_robot_sparse    reward near the goal alone
python -m experiments.run --config=configs/pearl.py:cheetah_dir           half-cheetah forward and backward
python -m experiments.run --config=configs/pearl.py:cheetah_vel           half-cheetah at 35 velocities

Two minutes of one core, nine with sparse rewards, four on the half-cheetah forward and backward. Returns of the first
and of the last episode of a new task, three seeds (docs/results.md): -16.1 and -6.4, 0.4 and 5.7, 58 and 747. On the
velocities -170 and -85 after 30,000 updates, 40 minutes of a shared core (docs/algorithms/varibad.md).
"""

from typing import Any

import ml_collections

from .replayed import replayed
from .section import depart


def get_config(family: str = "point_robot") -> ml_collections.ConfigDict:
  """PEARL on a family, with few and short episodes and small networks: for minutes on a CPU."""
  departures = {
    "encoder": {"hidden_sizes": (128, 128), "next_observation": False},  # tasks of most families differ in rewards
    "actor_critic": {"hidden_sizes": (64, 64), "reward_scale": 300.0},
  }
  config = replayed("pearl", family, departures)
  for section, values in VALUES.get(family, {}).items():
    depart(config[section], values, f"config.{section}")
  return config


_POINT_ROBOT_SPARSE: dict[str, dict[str, Any]] = {
  "collection": {
    "critic_reward": "point_robot",
    # Only a goal that was reached tells a task from another, and the belief without any goal leads between them all.
    "prior_episodes": 25,
    "posterior_episodes": 5,
    "extra_episodes": 0,
  },
  "training": {"steps": 40_000, "support_size": 160, "evaluate_every": 4_000, "checkpoint_every": 8_000},
  # The weight is the published one. At 0.1 beliefs leave the prior, and what the prior draws leads to no goal.
  "algorithm": {"encoder": {"kl_weight": 1.0}, "actor_critic": {"hidden_sizes": (128, 128)}},
  "evaluation": {"exploration_episodes": 15, "adapted_episodes": 5},
}
_CHEETAH: dict[str, dict[str, Any]] = {
  "collection": {
    "discount": 0.99,
    "ignored_observations": (17,),  # torso x, which grows as the agent learns to run
    "tasks_per_iteration": 2,
    "prior_episodes": 2,
    "posterior_episodes": 1,
    "extra_episodes": 2,
  },
  "training": {
    "steps": 45_000,
    "updates_per_iteration": 300,
    "tasks_per_update": 4,
    "support_size": 128,
    "query_size": 128,
    "evaluate_every": 4_500,
    "checkpoint_every": 9_000,
  },
  "algorithm": {
    "encoder": {"hidden_sizes": (64, 64), "next_observation": True},
    "actor_critic": {"hidden_sizes": (128, 128), "reward_scale": 80.0},
  },
  "evaluation": {"exploration_episodes": 2, "adapted_episodes": 2},
}
_CHEETAH_VEL: dict[str, dict[str, Any]] = {
  **_CHEETAH,
  "collection": {**_CHEETAH["collection"], "tasks_per_iteration": 5},
  "training": {**_CHEETAH["training"], "tasks_per_update": 16, "query_size": 32},
  # The temperature is fixed: with a scale of 80 the entropy outweighs the rewards, whose differences are small.
  "algorithm": {**_CHEETAH["algorithm"], "actor_critic": {"hidden_sizes": (128, 128), "reward_scale": 1000.0}},
}

VALUES: dict[str, dict[str, dict[str, Any]]] = {
  "point_robot_sparse": _POINT_ROBOT_SPARSE,
  "cheetah_dir": _CHEETAH,
  "cheetah_vel": _CHEETAH_VEL,
}
