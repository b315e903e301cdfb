"""Walker of 50 bodies: 22,600 to 36,000 transitions per body.

Run time: 19 minutes beside another run on two cores; 1,563,501 environment steps, 196,000 updates, 145 MB.
Returns (at most 200 steps, mean of 20 episodes, averaged over the bodies): random 0.3, final agent 355.8 (205.2 at the
worst body, 436.6 at the best); standing still would earn 200. One seed.
"""

from ml_collections import ConfigDict

from .defaults import defaults


def get_config() -> ConfigDict:
  """Values of the collection."""
  return defaults(
    "walker_params",
    episodes_per_task=200,
    warmup_episodes=4,
    tasks_per_round=10,
    updates_per_round=200,
    batch_size=8,
    own_fraction=1.0,  # a transition of one body is none of another's
  )
