"""Ant that walks to one of 180 places: 4,000 transitions per place.

Run time: 22 minutes beside two other runs on two cores, 13 of them processor time (a third of it for the 20 reference
episodes of each place); 720,000 environment steps, 48,600 updates, 338 MB. Returns (200 steps, mean of 20 episodes,
averaged over the places): random -745.0, final agent -331.3 (-563.2 at the worst place, -158.3 at the best), which
walks there and is still learning. One seed.
"""

from ml_collections import ConfigDict

from .defaults import defaults


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
