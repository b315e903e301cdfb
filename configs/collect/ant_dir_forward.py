"""Ant in 50 directions, rewarded by the velocity alone: 8,000 transitions per direction.

Run time: 12 minutes beside two other runs on two cores, 7.6 of them processor time; 400,000 environment steps, 114,000
updates, 56 MB. Returns (200 steps, mean of 20 episodes, averaged over the directions): random -2.6, final agent 363.1
(26.8 in the worst direction, 513.4 in the best). One seed.
"""

from ml_collections import ConfigDict

from .defaults import defaults


def get_config() -> ConfigDict:
  """Values of the collection."""
  return defaults(
    "ant_dir_forward",
    episodes_per_task=40,
    warmup_episodes=2,
    tasks_per_round=10,
    updates_per_round=600,
    batch_size=8,
  )
