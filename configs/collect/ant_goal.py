"""Ant that walks to one of 180 places."""

from ml_collections import ConfigDict

from configs.collect.defaults import defaults


def get_config() -> ConfigDict:
  """Values of the collection."""
  return defaults(
    "ant_goal",
    episodes_per_task=20,
    warmup_episodes=2,
    tasks_per_round=20,
    updates_per_round=300,
    batch_size=4,
  )
