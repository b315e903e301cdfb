"""Humanoid in 130 directions."""

from ml_collections import ConfigDict

from configs.collect.defaults import defaults


def get_config() -> ConfigDict:
  """Values of the collection."""
  return defaults(
    "humanoid_dir",
    episodes_per_task=30,
    warmup_episodes=4,
    tasks_per_round=13,
    updates_per_round=150,
    batch_size=4,
    reference_episodes=5,  # of 376 observations, most of them derived from the states, which are all kept
  )
