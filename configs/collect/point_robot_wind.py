"""Point robot in wind."""

from ml_collections import ConfigDict

from configs.collect.defaults import defaults


def get_config() -> ConfigDict:
  """Values of the collection."""
  return defaults(
    "point_robot_wind",
    episodes_per_task=50,
    warmup_episodes=2,
    tasks_per_round=20,
    updates_per_round=100,
    batch_size=4,
    own_fraction=1.0,  # a transition in one wind is none in another's
    hidden_sizes=(64, 64),
  )
