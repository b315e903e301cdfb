"""Point robot: 100 goals, 1,000 transitions per goal.

  python -m experiments.collect --config=configs/collect/point_robot.py

Run time: 1 minute on a loaded two-core machine; 100,000 environment steps, 24,000 updates, 2.4 MB.
Returns (20 steps, mean of 20 episodes a goal, averaged over the goals): random -20.9, final agent -5.4. One seed.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """Values of the collection; the fields are described in `macaw_jax.data.collect.CollectSettings`."""
  config = ConfigDict()
  config.family = "point_robot"
  config.directory = "data/point_robot"
  config.starter_directory = ""
  config.starter_episodes = 0

  config.seed = 0
  config.episodes_per_task = 50
  config.warmup_episodes = 2
  config.tasks_per_round = 20
  config.updates_per_round = 100
  config.batch_size = 4
  config.own_fraction = 0.5
  config.reference_episodes = 20

  config.hidden_sizes = (64, 64)
  config.learning_rate = 1e-3
  config.discount = 0.99
  config.target_rate = 0.005
  config.reward_scale = 1.0
  config.ignored_observations = ()
  return config
