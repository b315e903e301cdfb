"""Half-cheetah, forward and backward: 112,000 transitions per direction.

The starter data are 100 episodes per direction of the same run:

  python -m experiments.collect --config=configs/collect/cheetah_dir.py \
    --config.starter_directory=starter_data/cheetah_dir --config.starter_episodes=100

Run time: 5 minutes on a loaded two-core machine; 224,000 environment steps, 110,000 updates, 24 MB.
Returns (200 steps, mean of 20 episodes, forward and backward): random -41 and -4, final agent 1217 and 1210; the final
agents of seeds 1 and 2: 1230 and 1255, 1210 and 1234. Episodes while learning first pass 1000 in both directions at
62,000 (seed 0), 106,000 (seed 1) and 70,000 steps (seed 2).
"""

from ml_collections import ConfigDict

from .defaults import defaults


def get_config() -> ConfigDict:
  """Values of the collection."""
  return defaults(
    "cheetah_dir",
    episodes_per_task=560,
    warmup_episodes=10,
    tasks_per_round=2,
    updates_per_round=200,
    batch_size=128,
    ignored_observations=(17,),  # torso x, which grows without bound
  )
