"""Hopper of 50 bodies: 11,900 to 37,000 transitions per body.

Run time: 16 minutes beside two other runs on two cores, 8 of them processor time; 1,230,312 environment steps, 98,000
updates, 72 MB. Returns (at most 200 steps, mean of 20 episodes, averaged over the bodies): random 7.9, final agent
350.9 (118.8 at the worst body, 705.2 at the best). One seed.
"""

from ml_collections import ConfigDict

from .defaults import defaults


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
