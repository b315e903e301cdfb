"""Point robot with sparse reward: 100 goals on the half circle."""

from ml_collections import ConfigDict

from configs.collect.defaults import defaults


def get_config() -> ConfigDict:
  """Values of the collection."""
  return defaults(
    "point_robot_sparse",
    episodes_per_task=100,
    warmup_episodes=2,
    tasks_per_round=20,
    updates_per_round=150,
    batch_size=8,
    hidden_sizes=(64, 64),
  )
