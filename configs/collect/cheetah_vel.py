"""Half-cheetah at 40 velocities: 10,000 transitions per velocity.

  python -m experiments.collect --config=configs/collect/cheetah_vel.py

Run time: 13 minutes on a loaded two-core machine; 400,000 environment steps, 192,000 updates, 42 MB.
Returns (200 steps, mean of 20 episodes): random -357 on average over the velocities (-129 at the slowest, -636 at the
fastest), final agent -21.5 on average (-7.6 at the slowest, -46.5 at the fastest). The means of the first to the last
fifth of the episodes: -155, -38, -31, -29, -27. One seed.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """Values of the collection; the fields are described in `macaw_jax.data.collect.CollectSettings`."""
  config = ConfigDict()
  config.family = "cheetah_vel"
  config.directory = "data/cheetah_vel"
  config.starter_directory = ""
  config.starter_episodes = 0

  config.seed = 0
  config.episodes_per_task = 50
  config.warmup_episodes = 2
  config.tasks_per_round = 5
  config.updates_per_round = 500
  config.batch_size = 8
  config.own_fraction = 0.5
  config.reference_episodes = 20

  config.hidden_sizes = (128, 128)
  config.learning_rate = 1e-3
  config.discount = 0.99
  config.target_rate = 0.005
  config.reward_scale = 1.0
  config.ignored_observations = (17,)  # torso x, which grows without bound
  return config
