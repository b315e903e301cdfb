"""Ant in 50 directions, rewarded by the velocity alone."""

from ml_collections import ConfigDict

from configs.collect.defaults import defaults


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
