"""Humanoid in 130 directions: 1,916 to 2,655 transitions per direction.

Run time: 12 minutes beside another run on two cores, 10.5 of them processor time; 287,907 environment steps,
39,000 updates, 439 MB. Returns (at most 200 steps, mean of 5 episodes, averaged over the directions): random
115.0, final agent 510.1 (344.2 in the worst direction, 698.8 in the best). By the end it stays up for about 109 steps
and does not move along its direction (-0.01 m/s): a beginner's data. One seed.
"""

from ml_collections import ConfigDict

from .defaults import defaults


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
