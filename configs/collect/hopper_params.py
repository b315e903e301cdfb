"""Hopper of 50 bodies."""

from ml_collections import ConfigDict

from configs.collect.defaults import defaults


def get_config() -> ConfigDict:
  """Values of the collection."""
  return defaults(
    "hopper_params",
    episodes_per_task=200,
    warmup_episodes=4,
    tasks_per_round=10,
    updates_per_round=100,
    batch_size=8,
    own_fraction=1.0,  # a transition of one body is none of another's
  )
