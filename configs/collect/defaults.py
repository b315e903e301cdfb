"""The shared part of collections; a family's file adds its own values.

python -m experiments.collect --config=configs/collect/<family>.py
"""

from typing import Any

from ml_collections import ConfigDict

from macaw_jax.envs.names import directory_name


def defaults(family: str, **values: Any) -> ConfigDict:
  """The collection of a family; the fields are described in `macaw_jax.collection.collect.CollectSettings`.

  Args:
    family: name of the task family, as `macaw_jax.envs.make` takes it.
    **values: fields that the family adds or changes.
  """
  config = ConfigDict()
  config.family = family
  config.directory = f"data/{directory_name(family)}"
  config.starter_directory = ""
  config.starter_episodes = 0
  config.picture = ""  # or a GIF to draw
  config.other_policy_episodes = 10  # of each moment, into <directory>_other_policies and two more

  config.seed = 0
  config.own_fraction = 0.5
  config.reference_episodes = 20

  config.hidden_sizes = (128, 128)
  config.learning_rate = 1e-3
  config.discount = 0.99
  config.tau = 0.005
  config.reward_scale = 1.0
  config.ignored_observations = ()
  config.update(values)
  return config
