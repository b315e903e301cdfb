"""Half-cheetah, forward and backward: 112,000 transitions per direction.

  python -m experiments.collect --config=configs/collect/cheetah_dir.py

The starter data are 100 episodes per direction of the same run:

  python -m experiments.collect --config=configs/collect/cheetah_dir.py \
    --config.starter_directory=starter_data/cheetah_dir --config.starter_episodes=100

Run time: 5 minutes on a loaded two-core machine; 224,000 environment steps, 110,000 updates, 24 MB.
Returns (200 steps, mean of 20 episodes, forward and backward): random -41 and -4, final agent 1217 and 1210; the final
agents of seeds 1 and 2: 1230 and 1255, 1210 and 1234. Episodes while learning first pass 1000 in both directions at
62,000 (seed 0), 106,000 (seed 1) and 70,000 steps (seed 2).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """Values of the collection; the fields are described in `macaw_jax.data.collect.CollectSettings`."""
  config = ConfigDict()
  config.family = "cheetah_dir"
  config.directory = "data/cheetah_dir"
  config.starter_directory = ""
  config.starter_episodes = 0

  config.seed = 0
  config.episodes_per_task = 560
  config.warmup_episodes = 10
  config.tasks_per_round = 2
  config.updates_per_round = 200
  config.batch_size = 128
  config.own_fraction = 0.5
  config.reference_episodes = 20

  config.hidden_sizes = (128, 128)
  config.learning_rate = 1e-3
  config.discount = 0.99
  config.target_rate = 0.005
  config.reward_scale = 1.0
  config.ignored_observations = (17,)  # torso x, which grows without bound
  return config
