"""Half-cheetah at 40 velocities: 10,000 transitions per velocity.

Run time: 13 minutes on a loaded two-core machine; 400,000 environment steps, 192,000 updates, 42 MB.
Returns (200 steps, mean of 20 episodes): random -357 on average over the velocities (-129 at the slowest, -636 at the
fastest), final agent -21.5 on average (-7.6 at the slowest, -46.5 at the fastest). The means of the first to the last
fifth of the episodes: -155, -38, -31, -29, -27. One seed.
"""

from ml_collections import ConfigDict

from .defaults import defaults


def get_config() -> ConfigDict:
  """Values of the collection."""
  return defaults(
    "cheetah_vel",
    episodes_per_task=50,
    warmup_episodes=2,
    tasks_per_round=5,
    updates_per_round=500,
    batch_size=8,
    ignored_observations=(17,),  # torso x, which grows without bound
  )
