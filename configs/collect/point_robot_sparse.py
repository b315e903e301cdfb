"""Point robot with sparse reward: 100 goals on the half circle, 2,000 transitions per goal.

Run time: 5 minutes beside two other runs on two cores, 2.5 of them processor time; 200,000 environment steps, 73,500
updates, 4.4 MB. Returns (20 steps, mean of 20 episodes, averaged over the goals): random 0.0, final agent 12.8, every
goal reached. With half the episodes and a seventh of the updates, 26 of the 100 goals were never found. One seed.
"""

from ml_collections import ConfigDict

from .defaults import defaults


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
    other_policy_episodes=20,  # as many transitions as a support takes, and more
  )
