"""Ant in 50 directions."""

from ml_collections import ConfigDict

from configs.collect.defaults import defaults


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
