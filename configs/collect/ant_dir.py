"""Ant in 50 directions: 10,200 to 12,000 transitions per direction.

Run time: 12 to 22 minutes beside other runs on two cores; 567,872 environment steps, 290,000 updates, 79 MB.
Returns (at most 200 steps, mean of 20 episodes, averaged over the directions): random -29.7, final agent 331.7 (115.4
in the worst direction, 452.0 in the best); the survival bonus is 1 a step. One seed.
"""

from ml_collections import ConfigDict

from .defaults import defaults


def get_config() -> ConfigDict:
  """Values of the collection."""
  return defaults(
    "ant_dir",
    episodes_per_task=60,
    warmup_episodes=2,
    tasks_per_round=10,
    updates_per_round=1000,
    batch_size=8,
  )
